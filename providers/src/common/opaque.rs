//! State that only the provider that made it can read: signatures of reasoning, encrypted reasoning, thought signatures.
//!
//! A client carries such state from one turn to the next in a field of *its* dialect. When the maker speaks another
//! dialect, what the client gets is a ticket: base64 of `ai-gateway:`, the maker and the data. [`Opaque::from_client`]
//! opens it again, so the data goes back to its maker and to nobody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bounded_static::ToStatic;

use super::Str;
use crate::dialect::Dialect;

const MARK: &str = "ai-gateway:";
/// What every ticket begins with: base64 of the mark's first nine bytes.
const TICKET: &str = "YWktZ2F0ZXdh";

/// A provider's name in a ticket: which account, without telling its name.
#[derive(Debug, Clone, Copy, ToStatic, PartialEq, Eq, Hash)]
pub struct ProviderTag(u32);

impl ProviderTag {
    /// The tag of the provider that the configuration calls `name`: FNV-1a, the same in every process and version.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// Opaque state and who made it.
#[derive(Debug, Clone, ToStatic, PartialEq, Eq)]
pub struct Opaque<'a> {
    /// The dialect of the maker.
    pub dialect: Dialect,
    /// The account that made it; `None` when a client sent it without saying so.
    pub provider: Option<ProviderTag>,
    /// As it stood on the maker's wire (bytes in JSON are base64 there).
    pub data: Str<'a>,
}

impl<'a> Opaque<'a> {
    /// State found in an answer of `provider`.
    #[must_use]
    pub fn made_by(dialect: Dialect, provider: Option<ProviderTag>, data: Str<'a>) -> Self {
        Self { dialect, provider, data }
    }

    /// State found in a request of a client that speaks `dialect`: a ticket, or the bare data of a provider of that dialect.
    #[must_use]
    pub fn from_client(dialect: Dialect, text: Str<'a>) -> Self {
        open(&text).unwrap_or(Self { dialect, provider: None, data: text })
    }

    /// What a client that speaks `dialect` gets: the bare data if the maker speaks that dialect, else a ticket.
    #[must_use]
    pub fn for_client(&self, dialect: Dialect) -> Str<'_> {
        if self.dialect == dialect {
            return self.data.borrowed();
        }
        let provider = self.provider.map_or(0, |tag| tag.0);
        STANDARD.encode(format!("{MARK}{}:{provider:08x}:{}", self.dialect, self.data)).into()
    }

    /// The data, if there is any and a provider of this dialect and name can read it.
    #[must_use]
    pub fn for_provider(&self, dialect: Dialect, provider: ProviderTag) -> Option<&str> {
        let same_account = self.provider.is_none_or(|maker| maker == provider);
        (self.dialect == dialect && same_account && !self.data.is_empty()).then_some(&*self.data)
    }
}

/// Whether a request body may hold a ticket: then it must go through the codecs even between two sides of one dialect.
#[must_use]
pub fn may_hold_ticket(body: &[u8]) -> bool {
    memchr::memmem::find(body, TICKET.as_bytes()).is_some()
}

fn open(text: &str) -> Option<Opaque<'static>> {
    if !text.starts_with(TICKET) {
        return None;
    }
    let ticket = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let mut parts = ticket.strip_prefix(MARK)?.splitn(3, ':');
    let dialect = parts.next()?.parse();
    let provider = u32::from_str_radix(parts.next()?, 16).ok()?;
    let data = parts.next()?.to_owned().into();
    // Of an own dialect only the name is there: its provider gets the state back by the id of the tool call, nobody else gets it.
    let (dialect, data) = dialect.map_or((Dialect::OpenAiChat, Str::default()), |dialect| (dialect, data));
    Some(Opaque { dialect, provider: (provider != 0).then_some(ProviderTag(provider)), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_goes_back_to_its_maker_and_to_nobody_else() {
        let (maker, other) = (ProviderTag::of("google"), ProviderTag::of("vertex"));
        let made = Opaque::made_by(Dialect::Gemini, Some(maker), "CiQB:/+=".into());
        let ticket = made.for_client(Dialect::Anthropic).into_owned();
        assert!(may_hold_ticket(ticket.as_bytes()));
        let back = Opaque::from_client(Dialect::Anthropic, ticket);
        assert_eq!(back, made);
        assert_eq!(back.for_provider(Dialect::Gemini, maker), Some("CiQB:/+="));
        assert_eq!(back.for_provider(Dialect::Gemini, other), None);
        assert_eq!(back.for_provider(Dialect::Anthropic, maker), None);
    }

    #[test]
    fn bare_data_stays_bare_in_its_own_dialect() {
        let bare = Opaque::from_client(Dialect::Anthropic, "EqQB".into());
        assert_eq!(bare.for_provider(Dialect::Anthropic, ProviderTag::of("a")), Some("EqQB"));
        assert_eq!(bare.for_provider(Dialect::Gemini, ProviderTag::of("a")), None);
        assert_eq!(bare.for_client(Dialect::Anthropic), "EqQB");
        for broken in ["YWktZ2F0ZXdh", "YWktZ2F0ZXdheTo=", "YWktZ2F0ZXdheTpnZW1pbmk6eDp5"] {
            assert_eq!(Opaque::from_client(Dialect::Anthropic, broken.into()).dialect, Dialect::Anthropic, "{broken}");
        }
    }
}
