//! Tokens: which hold, and what key they stand for. Attacks on the real binary are in `tests/tests/jwt.rs`.

use std::time::{Duration, SystemTime};

use ::ring::rand::SystemRandom;
use ::ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use crate::config::{ClaimNames, IssuerConfig, JwksConfig, KeyConfig, ModelPattern, Right, TemplateConfig};
use crate::keys::*;

const P256: (&str, &str) = ("ES256", "P-256");
const P384: (&str, &str) = ("ES384", "P-384");

struct Curve {
    kind: (&'static str, &'static str),
    pair: EcdsaKeyPair,
}

impl Curve {
    fn new(kind: (&'static str, &'static str)) -> Self {
        let algorithm = if kind == P256 { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { kind, pair: EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap() }
    }

    fn jwk(&self, kid: &str) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(if self.kind == P256 { 32 } else { 48 });
        json!({
            "kty": "EC", "crv": self.kind.1, "kid": kid, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        sign(&json!({ "alg": self.kind.0, "kid": kid }), claims, |message| {
            self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        })
    }
}

fn sign(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

fn template(key: &str, claim: Option<(&str, &str)>) -> TemplateConfig {
    let claim = claim.map(|(name, value)| (name.to_owned(), value.to_owned()));
    TemplateConfig { key: key.to_owned(), claim }
}

fn issuer(audience: &str, jwks: &[Value], templates: impl Into<Vec<TemplateConfig>>) -> IssuerConfig {
    IssuerConfig {
        issuer: "https://id.example".to_owned(),
        audience: audience.to_owned(),
        jwks: JwksConfig::Fixed(json!({ "keys": jwks }).to_string().into_bytes()),
        claims: ClaimNames::default(),
        templates: templates.into(),
    }
}

fn tokens(jwks: &[Value], claims: ClaimNames) -> Tokens {
    let staff = KeyConfig {
        name: "staff".to_owned(),
        models: Some(vec![ModelPattern::new("assistant"), ModelPattern::new("openai/*")]),
        tags: vec!["gold".to_owned()],
        team: Some("all".to_owned()),
        allow: vec![Right::Explain],
        ..KeyConfig::default()
    };
    let issuer = IssuerConfig { claims, ..issuer("gateway", jwks, [template("staff", None)]) };
    Tokens::new(&[issuer], &KeyRing::new(&[staff]), &KeySets::new(super::client())).unwrap()
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    json!({ "iss": "https://id.example", "aud": "gateway", "exp": now + 600, "sub": "ada" })
}

#[tokio::test]
async fn curves_hold() {
    let (p256, p384) = (Curve::new(P256), Curve::new(P384));
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let ed_jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": URL_SAFE_NO_PAD.encode(ed.public_key().as_ref()),
    });
    let others = json!({ "kty": "oct", "kid": "a", "k": "c2VjcmV0" });
    let unknown = json!({ "kty": "from the future", "kid": "a" });
    let tokens = tokens(&[others, unknown, p256.jwk("a"), p384.jwk("b"), ed_jwk], ClaimNames::default());
    let ed_token =
        sign(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims(), |message| ed.sign(message).as_ref().to_vec());
    for token in [p256.token("a", &claims()), p384.token("b", &claims()), ed_token] {
        assert!(Tokens::is_token(token.as_bytes()));
        assert_eq!(tokens.verify(token.as_bytes(), SystemTime::now(), &|| true).await.unwrap_err(), Refused::Many);
        // The second time from memory, which no number of strangers keeps out.
        for many in [false, true] {
            let key = tokens.verify(token.as_bytes(), SystemTime::now(), &|| many).await.unwrap();
            assert_eq!(&*key.name, "staff/ada");
            assert!(key.accounts().eq(["staff/ada", "staff"]));
            assert_eq!((key.team(), key.tags()), (Some("all"), &["gold".to_owned()][..]));
            assert!(key.may_use("assistant") && !key.may_use("other") && key.may(Right::Explain));
        }
    }
    assert_eq!(
        tokens.verify(p256.token("b", &claims()).as_bytes(), SystemTime::now(), &|| false).await.unwrap_err(),
        Refused::Token(Flaw::Algorithm)
    );
}

#[tokio::test]
async fn a_token_holds_between_its_dates_by_the_time_that_is_handed_in() {
    let curve = Curve::new(P256);
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let dated = |nbf: Value| {
        let mut claims = claims();
        (claims["exp"], claims["nbf"]) = (5_000_000_600_u64.into(), nbf);
        curve.token("a", &claims)
    };
    let token = dated(5_000_000_000_u64.into());
    // Not the same when it is known already: who remembers it, and who sees it for the first time.
    let remembers = tokens(&[curve.jwk("a")], ClaimNames::default());
    for (now, flaw) in [
        (4_999_999_969, Some(Flaw::NotYet)),
        (4_999_999_970, None),
        (5_000_000_629, None),
        (5_000_000_630, Some(Flaw::Expired)),
    ] {
        let new = tokens(&[curve.jwk("a")], ClaimNames::default());
        for tokens in [&new, &remembers] {
            let verified = tokens.verify(token.as_bytes(), at(now), &|| false).await;
            assert_eq!(verified.err(), flaw.map(Refused::Token), "{now}");
        }
    }
    for nbf in [json!(0), json!(1.5), json!(4_999_999_999.6)] {
        assert!(remembers.verify(dated(nbf).as_bytes(), at(5_000_000_000), &|| false).await.is_ok());
    }
    let wrong = [json!("0"), json!(null), json!(-1), json!([])].map(|nbf| (nbf, Flaw::Claims));
    for (nbf, flaw) in wrong.into_iter().chain([(json!(1e30), Flaw::NotYet)]) {
        let verified = remembers.verify(dated(nbf.clone()).as_bytes(), at(5_000_000_000), &|| false).await;
        assert_eq!(verified.err(), Some(Refused::Token(flaw)), "{nbf}");
    }
}

/// Whatever is wrong with a token: also what is wrong with its template.
#[tokio::test]
async fn a_template_whose_time_is_over_says_no_more_than_any_other_token() {
    let curve = Curve::new(P256);
    let over = SystemTime::now() + Duration::from_secs(100);
    let staff = KeyConfig { name: "staff".to_owned(), expires: Some(over), ..KeyConfig::default() };
    let issuer = issuer("gateway", &[curve.jwk("a")], [template("staff", None)]);
    let tokens = || {
        let ring = KeyRing::new(std::slice::from_ref(&staff));
        Tokens::new(std::slice::from_ref(&issuer), &ring, &KeySets::new(super::client())).unwrap()
    };
    let token = curve.token("a", &claims());
    // Both when it is seen for the first time and when it is remembered.
    let remembers = tokens();
    assert!(remembers.verify(token.as_bytes(), SystemTime::now(), &|| false).await.is_ok());
    for tokens in [remembers, tokens()] {
        let refused = tokens.verify(token.as_bytes(), over, &|| false).await.unwrap_err();
        assert_eq!(refused, Refused::Token(Flaw::Template));
        assert_eq!(refused.message(), Refused::Wrong.message());
    }
}

/// Signatures that OpenSSL made; its key is gone.
#[test]
fn rsa_signatures_are_verified() {
    const N: &str = "zNqYKWXR65kk9XVzq_WXOcXhmtJ-dZZNRoITZLIWwXkIFEjXjE9qDC843cfEHsVnjOtNDOCaAXFXe5aPDvOLjNIjQ7ietLGfNlNOxsUTbiaTp1XOlEbSqe9sK7bd0LsxA3lJnQplLngUf-te3ZDZd7WlPjD5xk-KHbbN_3JsNG-vgXtye6OyQPCAa0AXWA4VWrc7yoHxNO0mpq27zkeIr9sJ2uCI1AFtTelmAhKBxGvy9BCu4KBcUv8T0z8WP-Djtk_Ws9R9iUl8wKS_O1LKdwVd7M0jPiycNdeSp1mHXt_UndnlIweEeU7k4O-SGUrRm79Otwsggk3b0PhwUhCx8Q";
    const SIGNATURES: [(Algorithm, &str); 4] = [
        (
            Algorithm::RS256,
            "kQvp_VGrDRoduFwe7UWbe9IM6kCWasZ3PNce4_dnhd5eWdCHp1XJO3OYPi9fm42kTz_nNSdHh1dv4e4spZ5bl0dIvVw32H5BYmyXi8_otmU3k4wxdjZawjq9qEULHjEtTPZwXDGthYBssSsEgcZL06Sn9J_KUbKu0HZF6L0-5qm_fYHgqi_m_GpkhEVoEvf9cemSb1HmwMASontVpmwk1ncxEROfmdrn6j2VlPA6DRWSeXYAqwhqxKkiYLqLeQSOncgCMIbDagch_3rx4teU307eWbx97O-QJ_4iywtn_HwmoPLSkCSuR4005wXexWeMcusGmAbbruTshiaGxdsMKg",
        ),
        (
            Algorithm::RS512,
            "iB32ZGPYjz79bewaepdsYZP-CaAc2W6QIixoy0XNQfkAQEyK2x7t8jqbYbapAHNfASU49drY82ug_aoc2LkCRzUeYQrZuNKmwd6dJo00rV5OOhSWBZ8vkLHZJ3SKT_NPvQdpSQ2czH-cXOhgxD4gS4YNzmcTWUTT9EngJQsIWBFWMj8D6Cg52s4a-Kmn4IRU1Gb2bE3AujL6wKTNhHbigJjcyA2dkpR6yAmjhDgKy03JkKabElHK-yLccxIFPakalcAUI1nqN7F9bvUVsIMTCmRC9afG7SK4TGqdpPPmCyRXh2lRrdysH2jEqZ5RWHaJ0xNJx_Ns50nNHOwzwbOSeQ",
        ),
        (
            Algorithm::PS256,
            "ndcFpdZz2Dc72Gi9c_b_tn5Or94W6vxt7DaB3bWJIyd2vWQ5dzj-XuquIjgNMbOhuCA_tvq_KuACKBTbVhgL-7m42CxvpL-GmrFqDK1Hd6TdE2R-s_goXf8GrlWH3pYDa4-nwYdU6rT06j5KoLIlUcMRjVYzFhO14x4GgSuhGHhmLNQOyg8NMLoPxifwV_kEd2-6-7zg8XLCo2MHTztKmCHIJRpgaMakF9nUZJqeH6FFP1gxllhn4Sq_7cwULxFYnTYpDIsHH0UMxF3BXqdscfZ01zojwFG-9lH1dHzJ0maggFAZ9YUirsIIsc3NOYURMU1-oOT5E4EvLhNRA6T_Mg",
        ),
        (
            Algorithm::PS384,
            "dHao8qMkZhdp9mM3nNPJGw-ngPVAZCfRv-h9Wt4VYoAzhGsIlDiAFdmed6pbAtTMzmb1KIoeByk9oDlJp6Vs3E3BGXwpYSFH1qB4t-Lr33pi_dgZ7LUTyKzHsIbRW7fqqpvI7bvfoqAiJtax77kjspcVWI1i_LmmTfkBIzG81RK4b86VYR5VZFWdy6hhBBRzDfrT_vhaMlnKpBkTte92vtu0HPK16QQ5_jFmYkWRelbefLpHBbAFtlY_JSsdrwNakiZgYcPp8Da8Mv7unqJpUEqM5LGRtWGY8VT8DWjJbnO8DlMVX7DBx1zTLTDr_yMKMyf7P6g43Qm3YXTRYx5sng",
        ),
    ];
    let _installs_the_provider = tokens(&[], ClaimNames::default());
    let key = DecodingKey::from_rsa_components(N, "AQAB").unwrap();
    for (made_by, signature) in SIGNATURES {
        let verify = |message: &[u8], by| jsonwebtoken::crypto::verify(signature, message, &key, by);
        for (algorithm, _) in SIGNATURES {
            assert_eq!(
                verify(b"what is signed", algorithm).unwrap(),
                algorithm == made_by,
                "{made_by:?} {algorithm:?}"
            );
        }
        assert!(!verify(b"what is not signed", made_by).unwrap());
        // Neither the public key as a shared secret nor as a key of another kind.
        assert!(verify(b"what is signed", Algorithm::HS256).is_err());
        assert!(verify(b"what is signed", Algorithm::ES256).is_err());
    }
}

#[tokio::test]
async fn claims_make_the_key_within_its_template() {
    let curve = Curve::new(P256);
    let names = ClaimNames {
        name: Some("email".to_owned()),
        team: Some("dept".to_owned()),
        tags: Some("/realm/roles".to_owned()),
        models: Some("models".to_owned()),
    };
    let tokens = tokens(&[curve.jwk("a")], names);
    let with = |more: Value| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        curve.token("a", &claims)
    };
    let token = with(json!({
        "email": "ada@example", "dept": "maths", "realm": { "roles": ["a", "b"] }, "models": "openai/gpt-5 other",
    }));
    let key = tokens.verify(token.as_bytes(), SystemTime::now(), &|| false).await.unwrap();
    assert_eq!((&*key.name, key.team()), ("staff/ada@example", Some("maths")));
    assert_eq!(key.tags(), ["gold", "a", "b"]);
    assert!(key.may_use("openai/gpt-5"));
    assert!(!key.may_use("other"), "more than the template");
    assert!(!key.may_use("assistant"), "more than the token");

    for bad in [
        json!({ "models": "assistant" }),
        json!({ "email": "ada" }),
        json!({ "email": "ada", "models": null }),
        json!({ "email": "ada", "models": 5 }),
        json!({ "email": "ada", "models": ["assistant", 5] }),
        json!({ "email": "ada\u{0}", "models": "assistant" }),
        json!({ "email": "", "models": "assistant" }),
        json!({ "email": "a".repeat(129), "models": "assistant" }),
        json!({ "email": ["ada"], "models": "assistant" }),
        json!({ "email": "ada", "models": "assistant", "dept": { "name": "maths" } }),
        json!({ "email": "ada", "models": "assistant", "realm": { "roles": { "a": 1 } } }),
    ] {
        assert_eq!(
            tokens.verify(with(bad.clone()).as_bytes(), SystemTime::now(), &|| false).await.unwrap_err(),
            Refused::Token(Flaw::Claims),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn claims_choose_the_template_and_so_does_the_audience() {
    let curve = Curve::new(P256);
    let jwks = [curve.jwk("a")];
    let templates = [
        template("admins", Some(("/realm/roles", "ai admin"))),
        template("research", Some(("scope", "research"))),
        template("staff", None),
    ];
    let other = template("research", Some(("dept", "Research and Development")));
    let last = [
        template("admins", Some(("staff", "true"))),
        template("research", Some(("level", "5"))),
        template("staff", None),
    ];
    // Signed by nobody else's key.
    let stranger = issuer("gateway-2", &[Curve::new(P256).jwk("a")], [template("admins", None)]);
    let issuers =
        [stranger, issuer("gateway", &jwks, templates), issuer("other", &jwks, [other]), issuer("last", &jwks, last)];
    let keys = ["admins", "research", "staff"].map(|name| KeyConfig { name: name.to_owned(), ..KeyConfig::default() });
    let tokens = Tokens::new(&issuers, &KeyRing::new(&keys), &KeySets::new(super::client())).unwrap();
    for (more, name) in [
        (json!({}), Ok("staff/ada")),
        (json!({ "scope": "read research" }), Ok("research/ada")),
        (json!({ "scope": "research", "realm": { "roles": ["a", "ai admin"] } }), Ok("admins/ada")),
        // One text with a space is not two words of which the first says it.
        (json!({ "realm": { "roles": ["ai", "admin"] } }), Ok("staff/ada")),
        (json!({ "scope": "researcher", "realm": { "roles": { "ai admin": true } } }), Ok("staff/ada")),
        (json!({ "scope": ["research"], "aud": ["x", "gateway"] }), Ok("research/ada")),
        (json!({ "aud": "other", "dept": "Research and Development" }), Ok("research/ada")),
        (json!({ "aud": "other", "dept": "Research" }), Err(Flaw::Template)),
        (json!({ "aud": "other", "scope": "research" }), Err(Flaw::Template)),
        // For two applications: the first in the file that has a key for it.
        (json!({ "aud": ["other", "gateway"], "dept": "Research and Development" }), Ok("staff/ada")),
        (json!({ "aud": ["last", "other"] }), Ok("staff/ada")),
        (json!({ "aud": ["last", "other"], "dept": "Research and Development" }), Ok("research/ada")),
        (json!({ "aud": ["gateway-2", "gateway"] }), Ok("staff/ada")),
        (json!({ "aud": "gateway-2" }), Err(Flaw::Signature)),
        (json!({ "aud": "last", "staff": "true" }), Ok("admins/ada")),
        (json!({ "aud": "last", "staff": true }), Ok("admins/ada")),
        (json!({ "aud": "last", "staff": [1, true] }), Ok("admins/ada")),
        (json!({ "aud": "last", "level": 5 }), Ok("research/ada")),
        (json!({ "aud": "last", "level": 50, "staff": false }), Ok("staff/ada")),
        (json!({ "aud": "none" }), Err(Flaw::Audience)),
        (json!({ "aud": 5 }), Err(Flaw::Audience)),
        (json!({ "aud": null }), Err(Flaw::Audience)),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let verified = tokens.verify(curve.token("a", &claims).as_bytes(), SystemTime::now(), &|| false).await;
        assert_eq!(verified.map(|key| key.name.to_string()), name.map(str::to_owned).map_err(Refused::Token), "{more}");
    }
}

#[test]
fn key_sets_are_checked_when_the_file_is_read() {
    let curve = Curve::new(P256);
    let check = |set: Value| check_jwks(set.to_string().as_bytes());
    assert_eq!(check(json!({ "keys": [curve.jwk("a")] })), Ok(()));
    let without = |field: &str| {
        let mut jwk = curve.jwk("a");
        jwk.as_object_mut().unwrap().remove(field);
        jwk
    };
    let with = |field: &str, value: &str| {
        let mut jwk = curve.jwk("a");
        jwk[field] = value.into();
        jwk
    };
    for unusable in [
        json!({ "keys": [] }),
        json!({ "keys": [without("kid")] }),
        json!({ "keys": [with("use", "enc")] }),
        json!({ "keys": [with("alg", "HS256")] }),
        json!({ "keys": [with("alg", "RS256")] }),
        json!({ "keys": [{ "kty": "oct", "kid": "a", "k": "c2VjcmV0" }] }),
        json!({}),
        json!([]),
    ] {
        assert!(check(unusable.clone()).is_err(), "{unusable}");
    }
    assert!(check_jwks(b"garbage").is_err());
}
