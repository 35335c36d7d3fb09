//! What a filter wants of a dead letter's texts.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::needle::{Fit, Needle};
use crate::envelope::Envelope;
use crate::store::dead_letters::DeadLetter;

/// A text that a filter wants, and where it may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub(super) needle: Needle,
    /// `None` for a word, which may stand anywhere.
    pub(super) place: Option<Place>,
}

/// A text of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What went wrong.
    Error,
    /// Where.
    Station,
    /// In whose hands.
    Worker,
    /// Its id.
    Id,
    /// The name of whom it is about.
    Name,
    /// The clean URL of the profile.
    Url,
    /// The lead's bytes.
    Lead,
}

impl Place {
    /// The field that looks there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Station => "station",
            Self::Worker => "worker",
            Self::Id => "id",
            Self::Name => "name",
            Self::Url => "url",
            Self::Lead => "lead",
        }
    }
}

/// Where a word is looked for, the cheapest first; names and URLs stand in the bytes as well, but
/// may be written otherwise there.
const ANYWHERE: [Place; 5] = [
    Place::Error,
    Place::Id,
    Place::Lead,
    Place::Name,
    Place::Url,
];
/// Where a word is also looked for loosely: what an operator sees and remembers.
const SEEN: [Place; 3] = [Place::Error, Place::Name, Place::Url];

/// The texts of a dead letter; what must be taken out of the lead is taken out once.
#[derive(Debug)]
pub struct Texts<'a> {
    envelope: &'a Envelope,
    lead: OnceCell<(String, String)>,
    bytes: OnceCell<Cow<'a, str>>,
}

impl<'a> Texts<'a> {
    /// Those of a dead letter.
    #[must_use]
    pub fn of(letter: &'a DeadLetter) -> Self {
        Self {
            envelope: &letter.envelope,
            lead: OnceCell::new(),
            bytes: OnceCell::new(),
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, place: Place) -> &str {
        match place {
            Place::Error => &self.envelope.error,
            Place::Station => &self.envelope.station,
            Place::Worker => &self.envelope.worker,
            Place::Id => &self.envelope.id,
            Place::Name => &self.who().0,
            Place::Url => &self.who().1,
            Place::Lead => self
                .bytes
                .get_or_init(|| String::from_utf8_lossy(&self.envelope.lead)),
        }
    }

    fn who(&self) -> &(String, String) {
        self.lead.get_or_init(|| {
            self.envelope.parse_lead().map_or_else(
                |_| Default::default(),
                |lead| {
                    let (name, url) = (lead.full_name(), lead.linkedin_url());
                    (name.unwrap_or_default(), url.unwrap_or_default())
                },
            )
        })
    }
}

impl Wanted {
    /// Whether it may stand in the lead.
    pub(super) fn looks_into_leads(&self) -> bool {
        matches!(
            self.place,
            None | Some(Place::Name | Place::Url | Place::Lead)
        )
    }

    /// How a dead letter fits.
    pub(super) fn fit(&self, texts: &Texts<'_>) -> Option<Fit> {
        let is_in = |place: &Place| self.needle.is_in(texts.get(*place));
        let is_like = |place: &Place| self.needle.is_like_a_word_in(texts.get(*place));
        let places = self
            .place
            .as_ref()
            .map_or(&ANYWHERE[..], std::slice::from_ref);
        if places.iter().any(is_in) {
            Some(Fit::Exact)
        } else {
            let may = self.place.is_none() && SEEN.iter().any(is_like);
            may.then_some(Fit::Loose)
        }
    }

    /// The parts of a text that it matches, as ranges of bytes in their order.
    #[must_use]
    pub fn ranges(&self, place: Place, text: &str) -> Vec<Range<usize>> {
        if self.place.is_some_and(|only| only != place) {
            return Vec::new();
        }
        if SEEN.contains(&place) {
            self.needle.ranges(text)
        } else {
            self.needle.exact_ranges(text)
        }
    }

    fn first(&self, place: Place, text: &str) -> Option<Range<usize>> {
        if self.place.is_some_and(|only| only != place) {
            return None;
        }
        let like = || self.needle.ranges(text).into_iter().next();
        let exact = self.needle.first_in(text);
        exact.or_else(|| SEEN.contains(&place).then(like).flatten())
    }

    /// The first place of a dead letter that it matches: in which text, and which bytes of it.
    #[must_use]
    pub fn found_in(&self, texts: &Texts<'_>) -> Option<(Place, Range<usize>)> {
        let places = [
            Place::Name,
            Place::Error,
            Place::Url,
            Place::Id,
            Place::Lead,
        ];
        let others = [Place::Station, Place::Worker];
        places
            .into_iter()
            .chain(
                others
                    .into_iter()
                    .filter(|place| self.place == Some(*place)),
            )
            .find_map(|place| Some((place, self.first(place, texts.get(place))?)))
    }
}
