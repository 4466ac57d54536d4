//! Keys and tokens that tell by their look whose they are.

use base64::Engine as _;

/// A shape: a prefix that is its own, and a body.
pub(super) struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// What it begins with, just so.
    pub prefix: &'static str,
    /// What the rest is made of.
    pub body: fn(u8) -> bool,
    /// Fewest and most characters of the rest.
    pub length: (usize, usize),
    /// What else must hold of the whole.
    pub check: fn(&str) -> bool,
}

const fn shape(name: &'static str, prefix: &'static str, body: fn(u8) -> bool, length: (usize, usize)) -> Shape {
    Shape { name, prefix, body, length, check: is_varied }
}

/// Longest body of a shape.
const LONGEST_BODY: usize = 4096;

/// In order: of two prefixes of which one begins the other, the longer comes first.
pub(super) const SHAPES: &[Shape] = &[
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    shape("aws_key", "AKIA", base32, (16, 16)),
    shape("aws_key", "ASIA", base32, (16, 16)),
    shape("aws_key", "ABSK", base64, (90, 160)),
    // https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    shape("github_token", "github_pat_", word, (60, 100)),
    shape("github_token", "ghp_", alnum, (36, 255)),
    shape("github_token", "gho_", alnum, (36, 255)),
    shape("github_token", "ghu_", alnum, (36, 255)),
    shape("github_token", "ghs_", alnum, (36, 255)),
    shape("github_token", "ghr_", alnum, (36, 255)),
    shape("gitlab_token", "glpat-", dashed, (20, 300)),
    shape("gitlab_token", "gldt-", dashed, (20, 300)),
    shape("gitlab_token", "glrt-", dashed, (20, 300)),
    // https://docs.slack.dev/authentication/tokens
    shape("slack_token", "xoxb-", dashed, (20, 250)),
    shape("slack_token", "xoxa-", dashed, (20, 250)),
    shape("slack_token", "xoxp-", dashed, (20, 250)),
    shape("slack_token", "xoxr-", dashed, (20, 250)),
    shape("slack_token", "xoxs-", dashed, (20, 250)),
    shape("slack_token", "xoxe.", dotted, (20, 250)),
    shape("slack_token", "xapp-", dashed, (20, 250)),
    shape("slack_webhook", "https://hooks.slack.com/services/", path, (30, 120)),
    shape("discord_webhook", "https://discord.com/api/webhooks/", path, (60, 150)),
    // Model providers.
    shape("anthropic_key", "sk-ant-", dashed, (32, 200)),
    shape("openrouter_key", "sk-or-", dashed, (32, 200)),
    shape("openai_key", "sk-proj-", dashed, (32, 250)),
    shape("openai_key", "sk-svcacct-", dashed, (32, 250)),
    shape("openai_key", "sk-admin-", dashed, (32, 250)),
    shape("api_key", "sk-", dashed, (32, 250)),
    shape("groq_key", "gsk_", alnum, (40, 80)),
    shape("xai_key", "xai-", alnum, (40, 120)),
    shape("perplexity_key", "pplx-", alnum, (40, 80)),
    shape("huggingface_token", "hf_", alnum, (30, 60)),
    shape("replicate_token", "r8_", alnum, (30, 60)),
    shape("google_key", "AIza", dashed, (35, 35)),
    shape("google_token", "ya29.", dotted, (40, 2048)),
    shape("google_secret", "GOCSPX-", dashed, (24, 40)),
    // Payment. Publishable keys (pk_…) are public.
    shape("stripe_key", "sk_live_", alnum, (16, 250)),
    shape("stripe_key", "sk_test_", alnum, (16, 250)),
    shape("stripe_key", "rk_live_", alnum, (16, 250)),
    shape("stripe_key", "rk_test_", alnum, (16, 250)),
    shape("stripe_secret", "whsec_", base64, (24, 100)),
    shape("square_token", "sq0atp-", dashed, (22, 60)),
    shape("square_token", "sq0csp-", dashed, (40, 60)),
    shape("shopify_token", "shpat_", hex, (32, 32)),
    shape("shopify_token", "shpss_", hex, (32, 32)),
    // Platforms, this gateway among them.
    shape("gateway_key", "gw-", dashed, (43, 43)),
    shape("npm_token", "npm_", alnum, (36, 36)),
    shape("pypi_token", "pypi-AgEI", dashed, (50, 400)),
    shape("docker_token", "dckr_pat_", dashed, (20, 60)),
    shape("digitalocean_token", "dop_v1_", hex, (64, 64)),
    shape("databricks_token", "dapi", hex, (32, 40)),
    shape("vault_token", "hvs.", dotted, (24, 250)),
    shape("grafana_token", "glsa_", word, (32, 60)),
    shape("linear_key", "lin_api_", alnum, (32, 60)),
    shape("notion_token", "ntn_", alnum, (40, 60)),
    shape("postman_key", "PMAK-", dashed, (40, 80)),
    shape("sendgrid_key", "SG.", dotted, (60, 75)),
    shape("twilio_key", "SK", hex, (32, 32)),
    shape("mailgun_key", "key-", hex, (32, 32)),
    shape("newrelic_key", "NRAK-", alnum, (27, 27)),
    shape("supabase_token", "sbp_", hex, (40, 40)),
    shape("atlassian_token", "ATATT3", dotted, (60, 300)),
    shape("age_key", "AGE-SECRET-KEY-1", alnum, (58, 58)),
    Shape { name: "jwt", prefix: "eyJ", body: dotted, length: (30, LONGEST_BODY), check: is_jwt },
];

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn dashed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn dotted(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn path(byte: u8) -> bool {
    dashed(byte) || byte == b'/'
}

fn hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn base32(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'2'..=b'7')
}

fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Not `xxxxxxxx`, `00000000`, `your-key-here`: what documentation puts there has few different characters, or no digit.
fn is_varied(whole: &str) -> bool {
    let body = whole.get(whole.len() - whole.len().min(32)..).unwrap_or(whole);
    super::assigned::entropy(body) > 2.6
        && (body.bytes().any(|byte| byte.is_ascii_digit()) || body.bytes().any(|byte| byte.is_ascii_uppercase()))
}

/// Three parts, of which the first is an object that names an algorithm.
fn is_jwt(whole: &str) -> bool {
    let mut parts = whole.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    header.get("alg").is_some_and(serde_json::Value::is_string) && claims.len() >= 8 && signature.len() >= 8
}
