//! A text that is looked for, and the one rule by which a word is found that is only like it.
//!
//! **Exactly**: the text contains it, one letter after the other. Small letters stand for either
//! case, a text with a capital in it is found only as it is written; `e` also finds `é`.
//!
//! **Loosely**: one word of the text begins with its first letter and has all the others in their
//! order, with at most one letter left out for every three of it: `tmeout` finds *timeout*, `lvlace`
//! finds *Lovelace*. Only a word of four letters or more is looked for like that, and nothing with
//! a digit or a sign in it: ids, codes and addresses are right or wrong. What a filter finds is also
//! what is retried or thrown away, so likeness ends where a person would no longer see it.

use std::cell::RefCell;
use std::ops::Range;

use memchr::memchr2_iter;
use nucleo_matcher::chars::{normalize, to_lower_case};
use nucleo_matcher::pattern::{Atom, AtomKind, CaseMatching, Normalization};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// Letters that a word must have to be found loosely.
const LOOSE_FROM: usize = 4;
/// Letters of a word for each one that may be left out.
const LETTERS_PER_GAP: usize = 3;

/// How well a text fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It has what was looked for.
    Exact,
    /// It has a word that is like it.
    Loose,
}

/// A text that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// As it is compared.
    text: String,
    folding: Folding,
    loose: Option<Loose>,
}

/// Which letters count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folding {
    case: bool,
    accents: bool,
}

/// A word that may be found with letters left out: the first one must be the first one there too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loose {
    first: char,
    rest: Atom,
    /// How many letters the rest has.
    length: usize,
    /// Letters that it may go over in the word that is found.
    reach: usize,
}

/// What matching needs room for.
struct Scratch {
    matcher: Matcher,
    chars: Vec<char>,
    indices: Vec<u32>,
}

thread_local! {
    // The matcher has 135 KB of room that is used again and again.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        matcher: Matcher::new(Config::DEFAULT),
        chars: Vec::new(),
        indices: Vec::new(),
    });
}

impl Folding {
    /// For a word: small letters stand for either case, plain ones for those with accents.
    fn smart(text: &str) -> Self {
        Self {
            case: !text.chars().any(char::is_uppercase),
            accents: text.chars().all(|c| normalize(c) == c),
        }
    }

    fn fold(self, c: char) -> char {
        let c = if self.accents { normalize(c) } else { c };
        if self.case { to_lower_case(c) } else { c }
    }

    /// A text of which letters may be left out.
    fn atom(self, text: &str) -> Atom {
        let case = if self.case {
            CaseMatching::Ignore
        } else {
            CaseMatching::Respect
        };
        let accents = if self.accents {
            Normalization::Smart
        } else {
            Normalization::Never
        };
        Atom::new(text, case, accents, AtomKind::Fuzzy, false)
    }
}

impl Needle {
    /// A text that is found exactly.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            folding: Folding::smart(text),
            loose: None,
        }
    }

    /// A word that is found loosely too, where it is one that may be.
    #[must_use]
    pub fn loose(text: &str) -> Self {
        let needle = Self::exact(text);
        let letters = text.chars().count();
        let may = letters >= LOOSE_FROM && text.chars().all(char::is_alphabetic);
        let first = text.chars().next().filter(|_| may);
        Self {
            loose: first.map(|first| Loose {
                first,
                rest: needle.folding.atom(&text[first.len_utf8()..]),
                length: letters - 1,
                reach: letters + letters / LETTERS_PER_GAP,
            }),
            ..needle
        }
    }

    /// The value of a field: found exactly, in either case and with its accents.
    pub(super) fn value(text: &str) -> Self {
        Self {
            text: text.chars().map(to_lower_case).collect(),
            folding: Folding {
                case: true,
                accents: false,
            },
            loose: None,
        }
    }

    /// Whether a text has exactly this in it.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.text.is_empty() || self.first_in(text).is_some()
    }

    /// Whether a text has a word that is like this one.
    #[must_use]
    pub fn is_like_a_word_in(&self, text: &str) -> bool {
        self.loose.as_ref().is_some_and(|loose| {
            words(text).any(|(_, word)| loose.place(word, self.folding).is_some())
        })
    }

    /// The parts of a text that are what is looked for, as ranges of bytes in their order: every
    /// place that has exactly this, else the letters of every word that is like it.
    #[must_use]
    pub fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = self.exact_ranges(text);
        if let (true, Some(loose)) = (found.is_empty(), &self.loose) {
            for (at, word) in words(text) {
                let letters = loose.place(word, self.folding).unwrap_or_default();
                found.extend(letters.into_iter().map(|r| at + r.start..at + r.end));
            }
        }
        found
    }

    /// The parts of a text that are exactly this, as ranges of bytes in their order.
    #[must_use]
    pub fn exact_ranges(&self, text: &str) -> Vec<Range<usize>> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(next) = self.first_in(&text[at..]) {
            found.push(at + next.start..at + next.end);
            at += next.end;
        }
        found
    }

    /// The first part of a text that is exactly this. Nucleo has a search for that as well, but
    /// it misses some (0.3.1): what ends a text that is not ASCII, and capitals after a digit.
    #[must_use]
    pub fn first_in(&self, text: &str) -> Option<Range<usize>> {
        let first = self.text.chars().next()?;
        if !self.folding.case && !self.folding.accents {
            let at = text.find(&self.text)?;
            return Some(at..at + self.text.len());
        }
        if text.is_ascii() {
            let (wanted, text) = (self.text.as_bytes(), text.as_bytes());
            let (low, high) = if self.folding.case {
                (wanted[0], wanted[0].to_ascii_uppercase())
            } else {
                (wanted[0], wanted[0])
            };
            let same = |at: &usize| {
                text.get(*at..*at + wanted.len()).is_some_and(|part| {
                    if self.folding.case {
                        part.eq_ignore_ascii_case(wanted)
                    } else {
                        part == wanted
                    }
                })
            };
            let at = memchr2_iter(low, high, text).find(same)?;
            return Some(at..at + wanted.len());
        }
        text.char_indices()
            .filter(|(_, c)| self.folding.fold(*c) == first)
            .find_map(|(at, _)| {
                let mut rest = text[at..].chars();
                let mut wanted = self.text.chars();
                let same = wanted.all(|c| rest.next().map(|c| self.folding.fold(c)) == Some(c));
                same.then(|| at..text.len() - rest.as_str().len())
            })
    }
}

impl Loose {
    /// The letters of a word that is like this one, as ranges of its bytes.
    fn place(&self, word: &str, folding: Folding) -> Option<Vec<Range<usize>>> {
        let first = word.chars().next()?;
        // Most words fall out here, before anything is looked for in them.
        if folding.fold(first) != self.first {
            return None;
        }
        let first = first.len_utf8();
        let end = word
            .char_indices()
            .nth(self.reach)
            .map_or(word.len(), |(at, _)| at);
        let rest = &word[first..end];
        if rest.len() < self.length {
            return None;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.indices.clear();
            let haystack = Utf32Str::new(rest, &mut scratch.chars);
            let (matcher, indices) = (&mut scratch.matcher, &mut scratch.indices);
            self.rest.indices(haystack, matcher, indices)?;
            let letters = indices.iter().map(|index| {
                let bytes = bytes_of(rest, *index);
                bytes.start + first..bytes.end + first
            });
            Some(std::iter::once(0..first).chain(letters).collect())
        })
    }
}

/// The words of a text, with where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// Which bytes a character is.
fn bytes_of(text: &str, index: u32) -> Range<usize> {
    let index = index as usize;
    if text.is_ascii() {
        return index..index + 1;
    }
    let found = text.char_indices().nth(index);
    found.map_or(text.len()..text.len(), |(at, c)| at..at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(needle: &str, text: &str) -> Option<Fit> {
        let needle = Needle::loose(needle);
        if needle.is_in(text) {
            Some(Fit::Exact)
        } else {
            needle.is_like_a_word_in(text).then_some(Fit::Loose)
        }
    }

    #[test]
    fn what_is_alike_is_within_one_word_and_leaves_little_out() {
        let text = "timeout after 10 s: Ada Lovelace-Johnson, Zoë, HTTP 50342 no-answer";
        for (needle, expected) in [
            ("timeout", Some(Fit::Exact)),
            ("out after", Some(Fit::Exact)),
            ("5034", Some(Fit::Exact)),
            ("zoe", Some(Fit::Exact)),
            ("zoë", Some(Fit::Exact)),
            ("50342 no", Some(Fit::Exact)),
            ("answer", Some(Fit::Exact)),
            ("10 s: ada", Some(Fit::Exact)),
            ("tmeout", Some(Fit::Loose)),
            ("lvlace", Some(Fit::Loose)),
            ("jhnson", Some(Fit::Loose)),
            ("Lvelace", Some(Fit::Loose)),
            // The first letter must be the first one.
            ("imout", None),
            // Too much is left out.
            ("tmut", None),
            ("lvlc", None),
            ("jhnsn", None),
            // Too short to be alike.
            ("ltr", None),
            // Over the end of a word.
            ("afterlove", None),
            ("noanswer", None),
            // Digits are right or wrong.
            ("50342x", None),
            ("5342", None),
            // A capital is a capital.
            ("Timeout", None),
            ("TMEOUT", None),
            ("zöe", None),
        ] {
            assert_eq!(fit(needle, text), expected, "{needle}");
        }
    }

    #[test]
    fn what_fits_can_be_shown() {
        let shown = |needle: &Needle, text: &str| -> String {
            let mut out = text.to_owned();
            for range in needle.ranges(text).into_iter().rev() {
                out.insert(range.end, ']');
                out.insert(range.start, '[');
            }
            out
        };
        for (needle, text, expected) in [
            ("a", "Ada", "[A]d[a]"),
            ("lace", "Zoë Lovelace", "Zoë Love[lace]"),
            ("zoe", "Zoë, zoe", "[Zoë], [zoe]"),
            ("tmeout", "a Timeout", "a [T]i[m][e][o][u][t]"),
            ("zoee", "漢字 Zoxeé", "漢字 [Z][o]x[e][é]"),
            ("none", "of it", "of it"),
        ] {
            assert_eq!(shown(&Needle::loose(needle), text), expected);
        }
        assert_eq!(shown(&Needle::exact("tmeout"), "timeout"), "timeout");
        assert!(Needle::exact("").ranges("text").is_empty());
        assert!(Needle::exact("").is_in(""));
    }

    #[test]
    fn the_value_of_a_field_is_found_in_either_case() {
        assert!(Needle::value("HTTP É").is_in("an http é"));
        assert!(Needle::value("503 error").is_in("HTTP 503 Error"));
        assert!(!Needle::value("e").is_in("é"));
        assert!(Needle::value("").is_in("é") && !Needle::value("ab").is_in("a"));
    }
}
