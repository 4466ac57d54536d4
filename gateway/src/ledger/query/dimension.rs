//! By what records are grouped and filtered.

use std::fmt;
use std::str::FromStr;

/// A property of records that reports are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The client's key.
    Key,
    /// The key's team.
    Team,
    /// Who answers for the key.
    Owner,
    /// Each tag; a record with two tags is in both groups.
    Tag,
    /// The client's own customer or user.
    Customer,
    /// The model that was asked for.
    Model,
    /// The provider that answered.
    Provider,
    /// The model that the provider was asked for.
    UpstreamModel,
    /// The operation.
    Operation,
    /// Why there is a record.
    Kind,
    /// Where the usage comes from.
    UsageSource,
    /// The prices that costs were reckoned with.
    PriceMap,
    /// The hour in UTC, as `2026-11-25T16`.
    Hour,
    /// The day in UTC, as `2026-11-25`.
    Day,
    /// The month in UTC, as `2026-11`.
    Month,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Key,
        Self::Team,
        Self::Owner,
        Self::Tag,
        Self::Customer,
        Self::Model,
        Self::Provider,
        Self::UpstreamModel,
        Self::Operation,
        Self::Kind,
        Self::UsageSource,
        Self::PriceMap,
        Self::Hour,
        Self::Day,
        Self::Month,
    ];

    /// The word in queries and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::Owner => "owner",
            Self::Tag => "tag",
            Self::Customer => "customer",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::UpstreamModel => "upstream_model",
            Self::Operation => "operation",
            Self::Kind => "kind",
            Self::UsageSource => "usage_source",
            Self::PriceMap => "price_map",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Reads words with commas between. A word that comes again says nothing new.
    ///
    /// # Errors
    /// One of them is no dimension.
    pub fn list(words: &str) -> Result<Vec<Self>, String> {
        let mut list = Vec::new();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let dimension = word.parse()?;
            if !list.contains(&dimension) {
                list.push(dimension);
            }
        }
        Ok(list)
    }

    /// Its value in a row of the table.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Tag => "tag.value",
            // `/` rounds towards zero, which matters to nobody: there were no requests before 1970.
            Self::Hour => "strftime('%Y-%m-%dT%H', at / 1000000, 'unixepoch')",
            Self::Day => "strftime('%Y-%m-%d', at / 1000000, 'unixepoch')",
            Self::Month => "strftime('%Y-%m', at / 1000000, 'unixepoch')",
            // `key` alone is a word of SQL.
            Self::Key => "usage.key",
            column => column.as_str(),
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dimension| dimension.as_str() == word);
        found.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.into_iter().map(Self::as_str).collect();
            format!("`{word}` is nothing that usage is told by; there are {}", all.join(", "))
        })
    }
}
