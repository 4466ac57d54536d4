//! The price map: sheets of rows, one above the other, and prices of the operator's own on top.
//!
//! A sheet is text, one model a row, sorted by name; a lookup is a binary search in the text and reads one row. So the
//! compiled-in sheet needs no start-up time and no memory beyond its pages of the binary.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use memchr::{memchr, memrchr};
use sha2::{Digest as _, Sha256};

use super::names;
use super::{Price, Rate, import};

/// Made by `ai-gateway prices import`; its licence is beside it.
const BUILT_IN: &str = include_str!("../../data/prices.txt");

/// How a sheet begins; its id follows on the same line.
pub(super) const HEADER: &str = "# ai-gateway prices ";

/// What is known of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// Its prices; `None` if they are not known, which is not the same as nothing to pay.
    pub price: Option<Price>,
    /// The most tokens of input.
    pub context_window: Option<u64>,
    /// The most tokens of output.
    pub max_output: Option<u64>,
}

/// Which model of which upstream account is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// The account's own name: overrides go by it.
    pub provider: &'a str,
    /// Its kind, as of [`Preset::kind`](crate::preset::Preset::kind).
    pub kind: &'a str,
    /// The upstream's name of the model.
    pub model: &'a str,
    /// The account's region, where it has one.
    pub region: Option<&'a str>,
}

/// A file that is no sheet of prices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SheetError(pub(super) String);

/// Prices and context windows of many vendors' models. Cheap to make; cloning copies the operator's part.
#[derive(Clone)]
pub struct PriceMap {
    /// By `provider/model`.
    overrides: BTreeMap<String, Model>,
    /// The first that knows a model by its name counts, then the first that knows another version of it.
    sheets: Vec<Sheet>,
    id: String,
}

impl Default for PriceMap {
    fn default() -> Self {
        Self::built_in()
    }
}

impl PriceMap {
    /// The map that is compiled in.
    #[must_use]
    pub fn built_in() -> Self {
        let sheet = Sheet::trusted(BUILT_IN);
        Self { overrides: BTreeMap::new(), id: sheet.id.clone(), sheets: vec![sheet] }
    }

    /// The map of a file alone: LiteLLM's JSON, or a sheet made of one by `ai-gateway prices import`.
    ///
    /// # Errors
    /// It is neither.
    pub fn of_file(content: &[u8]) -> Result<Self, SheetError> {
        let sheet = Sheet::of_file(content)?;
        Ok(Self { overrides: BTreeMap::new(), id: sheet.id.clone(), sheets: vec![sheet] })
    }

    /// Lays an operator's file over this map: of the same forms as [`PriceMap::of_file`].
    ///
    /// # Errors
    /// It has neither form.
    pub fn with_file(mut self, content: &[u8]) -> Result<Self, SheetError> {
        let sheet = Sheet::of_file(content)?;
        self.id = format!("{}+{}", self.id, sheet.id);
        self.sheets.insert(0, sheet);
        Ok(self)
    }

    /// Sets models of single accounts, by `provider/model`. What an override leaves out comes from below.
    #[must_use]
    pub fn with_overrides(mut self, overrides: BTreeMap<String, Model>) -> Self {
        if !overrides.is_empty() {
            let text: String = overrides.iter().map(|(name, model)| row_text(name, model)).collect();
            self.id = format!("{}+{}", self.id, hash(&text));
            self.overrides.extend(overrides);
        }
        self
    }

    /// Names this state of the prices, for records: two maps of the same id have the same prices. The date of the
    /// compiled-in sheet and a hash, and a hash for each layer above it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is known of a model; `None` if nothing is.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Model> {
        let own = self.overrides.get(&format!("{}/{}", lookup.provider, lookup.model)).or_else(|| {
            let is_it = |name: &str| {
                name.split_once('/').is_some_and(|(provider, model)| {
                    provider == lookup.provider && model.eq_ignore_ascii_case(lookup.model)
                })
            };
            // Azure finds its deployments whatever the case of their letters.
            self.overrides.iter().find(|(name, _)| lookup.kind == "azure" && is_it(name)).map(|(_, model)| model)
        });
        let rows = names::rows(lookup);
        let known = self.found(&rows).filter_map(|(_, row)| Model::read(row).ok());
        own.cloned().into_iter().chain(known).reduce(Model::or)
    }

    /// The rows that count for `names`, one a sheet: those of exactly such a name from the top, then those of other versions. What
    /// a sheet says of a version is not said of the others as long as another sheet knows them.
    fn found<'m>(&'m self, names: &[String]) -> impl Iterator<Item = (&'m str, &'m str)> {
        let exact = self.sheets.iter().filter_map(|sheet| sheet.exact(names));
        let others = self.sheets.iter().filter(|sheet| sheet.exact(names).is_none());
        exact.chain(others.filter_map(|sheet| sheet.other_version(names)))
    }

    /// What the sheets know under exactly this name, `vendor/model` as [`PriceMap::names`] gives it.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Model> {
        let rows = self.sheets.iter().filter_map(|sheet| sheet.row(name));
        rows.filter_map(|row| Model::read(row).ok()).reduce(Model::or)
    }

    /// The row that [`PriceMap::find`] would read first.
    #[must_use]
    pub fn row_of(&self, lookup: &Lookup<'_>) -> Option<&str> {
        let rows = names::rows(lookup);
        self.found(&rows).next().map(|(name, _)| name)
    }

    /// The names, as its upstream has them, of the models of a provider of that kind which take text: those whose context
    /// window is known. Without fine-tuned ones, and a region's or a commitment's prices of another one (`bedrock/us-east-1/…`).
    #[must_use]
    pub fn models_of(&self, kind: &str) -> Vec<&str> {
        let Some(vendor) = names::vendor(kind) else { return Vec::new() };
        let prefix = format!("{vendor}/");
        let is_model = |name: &str| !(name.starts_with("ft:") || kind == "bedrock" && name.contains('/'));
        let mut models = Vec::new();
        for sheet in &self.sheets {
            let of_vendor = sheet.rows_from(&prefix).map_while(|(name, row)| Some((name.strip_prefix(&*prefix)?, row)));
            models.extend(
                of_vendor.filter(|(name, row)| is_model(name) && row.contains("window=")).map(|(name, _)| name),
            );
        }
        models
    }

    /// The names of all rows, sheet by sheet from the top.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sheets.iter().flat_map(|sheet| sheet.body().lines().map(|row| split(row).0))
    }
}

/// The prices are many; the id stands for them.
impl fmt::Debug for PriceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PriceMap({})", self.id)
    }
}

impl PartialEq for PriceMap {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for PriceMap {}

impl Model {
    /// This, and from `below` what it leaves out.
    fn or(self, below: Self) -> Self {
        Self {
            price: self.price.or(below.price),
            context_window: self.context_window.or(below.context_window),
            max_output: self.max_output.or(below.max_output),
        }
    }

    /// Reads what stands after the name in a row.
    fn read(text: &str) -> Result<Self, String> {
        let mut model = Self::default();
        let mut rates: Vec<Rate> = Vec::new();
        let mut us_only = None;
        let number = |word: &str, text: &str| text.parse().map_err(|_| format!("`{word}` is no number of tokens"));
        for word in text.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("window", tokens)) => model.context_window = Some(number(word, tokens)?),
                Some(("max_output", tokens)) => model.max_output = Some(number(word, tokens)?),
                Some(("us_only", times)) => us_only = Some(times.parse()?),
                _ => rates.push(word.parse()?),
            }
        }
        model.price = (!rates.is_empty()).then(|| Price::new(rates).with_us_only(us_only));
        Ok(model)
    }
}

/// A row of a sheet, with its line break.
pub(super) fn row_text(name: &str, model: &Model) -> String {
    let mut row = name.to_owned();
    let windows = [("window", model.context_window), ("max_output", model.max_output)];
    row.extend(windows.iter().filter_map(|(word, tokens)| tokens.map(|tokens| format!(" {word}={tokens}"))));
    row.extend(model.price.iter().flat_map(Price::rates).map(|rate| format!(" {rate}")));
    row.extend(model.price.iter().filter_map(Price::us_only).map(|times| format!(" us_only={times}")));
    row.push('\n');
    row
}

/// A sheet with the header that belongs to its rows. `date` may be empty.
pub(super) fn sheet_text(date: &str, rows: &str) -> String {
    let dash = if date.is_empty() { "" } else { "-" };
    format!("{HEADER}{date}{dash}{}\n{rows}", hash(rows))
}

fn hash(rows: &str) -> String {
    Sha256::digest(rows).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Sorted rows.
#[derive(Clone)]
struct Sheet {
    text: Cow<'static, str>,
    /// Where the rows begin.
    start: usize,
    id: String,
}

impl Sheet {
    fn trusted(text: &'static str) -> Self {
        let header = text.lines().next().unwrap_or_default();
        let id = header.strip_prefix(HEADER).unwrap_or_default().to_owned();
        Self { text: Cow::Borrowed(text), start: header.len() + 1, id }
    }

    fn of_file(content: &[u8]) -> Result<Self, SheetError> {
        let is_json = content.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if is_json {
            return Self::read(import::litellm(content, "")?.sheet);
        }
        let text = str::from_utf8(content).map_err(|_| SheetError("it is not UTF-8 text".to_owned()))?;
        Self::read(text.to_owned())
    }

    /// Checks every row. The id is of what is there, whatever the header says.
    fn read(text: String) -> Result<Self, SheetError> {
        let header = text.lines().next().unwrap_or_default();
        let stated = header.strip_prefix(HEADER).ok_or_else(|| {
            SheetError(format!(
                "it is neither a JSON object nor a sheet of prices, which begins with `{}`",
                HEADER.trim()
            ))
        })?;
        let start = (header.len() + 1).min(text.len());
        let rows = text.get(start..).unwrap_or_default();
        let mut last = "";
        for (number, row) in (2..).zip(rows.lines()) {
            let (name, rest) = split(row);
            if name <= last {
                return Err(SheetError(format!("line {number}: rows are sorted by name, and none comes twice")));
            }
            Model::read(rest).map_err(|error| SheetError(format!("line {number}: {error}")))?;
            last = name;
        }
        let date = stated.rsplit_once('-').map_or("", |(date, _)| date);
        let dash = if date.is_empty() { "" } else { "-" };
        let id = format!("{date}{dash}{}", hash(rows));
        Ok(Self { start, id, text: Cow::Owned(text) })
    }

    fn body(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// The name and the rest of the row of the first of `names` that is known.
    fn exact(&self, names: &[String]) -> Option<(&str, &str)> {
        names.iter().find_map(|name| self.entry(name))
    }

    /// The same of the row that stands for the first of `names` that is known in another version: in its newest one, or without
    /// its version.
    fn other_version(&self, names: &[String]) -> Option<(&str, &str)> {
        let newest = || names.iter().find_map(|name| self.newest_version(name));
        let plain = || {
            let shorter =
                |name| std::iter::successors(names::without_version(name), |name| names::without_version(name));
            names
                .iter()
                .flat_map(|name| shorter(name))
                .find_map(|name| self.entry(name).or_else(|| self.newest_version(name)))
        };
        newest().or_else(plain)
    }

    fn row(&self, name: &str) -> Option<&str> {
        self.entry(name).map(|(_, rest)| rest)
    }

    fn entry(&self, name: &str) -> Option<(&str, &str)> {
        self.rows_from(name).next().filter(|(found, _)| *found == name)
    }

    fn newest_version(&self, plain: &str) -> Option<(&str, &str)> {
        let longer = self.rows_from(plain).take_while(|(name, _)| name.starts_with(plain));
        longer.filter(|(name, _)| names::is_version_of(name, plain)).last()
    }

    /// The rows whose names are not less than `name`.
    fn rows_from(&self, name: &str) -> impl Iterator<Item = (&str, &str)> + use<'_> {
        let body = self.body();
        let bytes = body.as_bytes();
        // Both always stand at the beginning of a row, or at the end.
        let (mut low, mut high) = (0, bytes.len());
        while low < high {
            let middle = low.midpoint(high);
            let start = memrchr(b'\n', bytes.get(low..middle).unwrap_or_default()).map_or(low, |at| low + at + 1);
            let end = memchr(b'\n', bytes.get(middle..high).unwrap_or_default()).map_or(high, |at| middle + at + 1);
            match split(body.get(start..end).unwrap_or_default()).0.cmp(name) {
                Ordering::Less => low = end,
                Ordering::Equal | Ordering::Greater => high = start,
            }
        }
        body.get(low..).unwrap_or_default().lines().map(split)
    }
}

fn split(row: &str) -> (&str, &str) {
    row.split_once(' ').unwrap_or((row.trim_end(), ""))
}
