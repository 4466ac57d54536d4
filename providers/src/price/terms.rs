//! What decides, beside its tokens, what a request may cost.

use super::{Tier, Unit};

/// At which rates a request may be billed, by what it asks for: at which tiers, for what else than text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The tier beside the standard one that it asks for.
    pub tier: Option<Tier>,
    /// It leaves its tier to the provider: `auto`, or a word that is not known.
    pub any_tier: bool,
    /// Its answer is to be made in the US only.
    pub us_only: bool,
    /// It asks for sound.
    pub audio: bool,
    /// It asks for kinds of answers, and pictures are none of them. Models that make pictures do so unasked.
    pub no_images: bool,
    /// Where its prompt, or a part of it, is to be written into a cache: the dearer one.
    pub cache_write: Option<Unit>,
}

impl Terms {
    /// Reads the name of a tier in a request.
    pub fn ask_tier(&mut self, word: &str) {
        if ["default", "standard", "standard_only"].iter().any(|name| name.eq_ignore_ascii_case(word)) {
            return;
        }
        match Tier::of_answer(Some(word)) {
            Tier::Standard => self.any_tier = true,
            tier => self.tier = Some(tier),
        }
    }

    /// The tiers that it may be served at. None of them is a batch's or the fast mode's, unless it asks for that.
    pub(super) fn tiers(&self) -> impl Iterator<Item = Tier> + use<'_> {
        let may_be = |tier: &Tier| match tier {
            Tier::Standard => true,
            tier @ (Tier::Batch | Tier::FastMode) => self.tier == Some(*tier),
            tier => self.any_tier || self.tier == Some(*tier),
        };
        Tier::ALL.iter().copied().filter(may_be)
    }

    /// As what else a token may be billed that is counted as `unit`.
    pub(super) fn other_units(&self, unit: Unit) -> impl Iterator<Item = Unit> + use<> {
        let others = match unit {
            Unit::Input => [self.cache_write, None, None],
            Unit::AudioInput | Unit::ImageInput => [self.cache_write, Some(Unit::Input), None],
            Unit::Output => [
                Some(Unit::Reasoning),
                self.audio.then_some(Unit::AudioOutput),
                (!self.no_images).then_some(Unit::ImageOutput),
            ],
            _ => [None; 3],
        };
        others.into_iter().flatten()
    }
}
