//! The dead letters: the list, the groups, and what stands beside them.

use std::ops::Range;

use bridge_shared::envelope::HEAD;
use bridge_shared::filter::{Place, Texts, Wanted};
use bridge_shared::lead::Lead;
use bridge_shared::store::dead_letters::DeadLetter;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::{Ui, marked};
use crate::app::dlq::View;
use crate::app::letter::Letter;
use crate::layout;
use crate::text::{age, brief, clip, fit, plural, thousands};
use bridge_shared::row::error_or_unknown;

/// Before a filter that is being written.
pub(super) const FILTER: &str = "filter: ";

/// Columns for a filter that is being written, in its line.
pub(super) fn filter_room(line: Rect) -> usize {
    usize::from(line.width).saturating_sub(1 + FILTER.len())
}

impl Ui<'_> {
    pub(super) fn dlq(&self, frame: &mut Frame<'_>, body: Rect) {
        if self.app.dlq.view == View::Trash {
            self.trash(frame, body);
            return;
        }
        let areas = layout::dlq(body);
        self.summary(frame, areas.summary);
        if self.app.dlq.view == View::Groups {
            // Nothing stands beside the groups: they take the whole width.
            let wide = |part: Rect| Rect::new(body.x, part.y, body.width, part.height);
            self.groups(frame, wide(areas.heading), wide(areas.list));
        } else {
            self.letters(frame, areas.heading, areas.list);
        }
        if let Some(beside) = areas.beside {
            self.beside(frame, beside);
        }
        self.choices(frame, areas.summary, body);
    }

    fn beside(&self, frame: &mut Frame<'_>, beside: Rect) {
        match (&self.app.dlq.letter, self.app.dlq.view) {
            (Some(letter), View::Letter) => self.letter(frame, beside, letter, true),
            (_, View::Groups) => {}
            _ => {
                if let Some(letter) = self.app.dlq.under_cursor() {
                    self.letter(frame, beside, &Letter::new(letter.clone()), false);
                }
            }
        }
    }

    /// How many, which filter, how many marked; or the filter being written.
    fn summary(&self, frame: &mut Frame<'_>, area: Rect) {
        let dlq = &self.app.dlq;
        let mut spans = vec![Span::raw(" ")];
        if let Some(writing) = &dlq.writing {
            spans.push(Span::styled(FILTER, self.theme.key));
            spans.extend(self.typed(&writing.input, filter_room(area)));
            Self::line(frame, area, Line::from(spans), Style::new());
            return;
        }
        let dead = self.app.dead().map(|dead| plural(dead, "dead letter"));
        let told = match (dead, &dlq.search) {
            (None, _) => "Dead letters, not read yet".into(),
            (Some(dead), Some(search)) if !dlq.filter_text.is_empty() => {
                format!("{} of {dead}", thousands(search.count() as u64))
            }
            (Some(dead), _) => dead,
        };
        spans.push(Span::styled(told, self.theme.title));
        let at_filter = spans.len();
        if let Some(search) = dlq.searching() {
            let told = format!("  searching, {} %", search.percent());
            spans.push(Span::styled(told, self.theme.warn));
        }
        let marked = dlq.marks.count(dlq.count() as u64);
        if marked > 0 {
            let mut told = format!("  {} marked", thousands(marked));
            let hidden = dlq.hidden();
            if hidden > 0 {
                told = format!("{told}, {} not shown", thousands(hidden));
            }
            spans.push(Span::styled(told, self.theme.accent));
        }
        let width = usize::from(area.width);
        let used = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
        if dlq.range.is_some() {
            let least = if dlq.filter_text.is_empty() { 0 } else { 24 };
            let told = [
                "  range: v marks up to here, esc leaves",
                "  v ends the range",
            ];
            let fits = |told: &&str| used(&spans) + told.len() + least <= width;
            let told = told.into_iter().find(fits).unwrap_or(told[1]);
            spans.push(Span::styled(told, self.theme.accent));
        }
        if !dlq.filter_text.is_empty() {
            // What room the others leave.
            let label = "  filter ";
            let room = width.saturating_sub(used(&spans) + label.len() + 1);
            let filter = clip(&dlq.filter_text, room);
            spans.insert(at_filter, Span::styled(filter, self.theme.accent));
            spans.insert(at_filter, Span::styled(label, self.theme.dim));
        }
        Self::line(frame, area, Line::from(spans), Style::new());
    }

    fn letters(&self, frame: &mut Frame<'_>, heading: Rect, list: Rect) {
        let dlq = &self.app.dlq;
        let name = self.letter_heading(frame, heading);
        let error = usize::from(list.width).saturating_sub(17 + name);
        let count = dlq.count();
        if count == 0 {
            self.nothing(frame, list);
            return;
        }
        for (n, index) in dlq.at.rows(count, list.height.into()).enumerate() {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let here = index == dlq.at.cursor;
            let line = match dlq.letter_at(index) {
                Some(letter) => self.letter_line(letter, self.sign_of(letter, index), name, error),
                None => Line::styled(format!("   {:>5}", "..."), self.theme.dim),
            };
            self.entry(frame, row, line, here);
        }
    }

    /// The names of the columns; returns how wide the one of the names is.
    pub(super) fn letter_heading(&self, frame: &mut Frame<'_>, heading: Rect) -> usize {
        let width = usize::from(heading.width);
        let name = (width.saturating_sub(17) * 2 / 5).min(28);
        let titles = format!(
            "   {:>5} {:>5}  {} {}",
            "age",
            "tries",
            fit("name", name),
            fit("error", width.saturating_sub(17 + name))
        );
        let titles = Line::from(clip(&titles, width));
        Self::line(frame, heading, titles, self.theme.dim);
        name
    }

    fn nothing(&self, frame: &mut Frame<'_>, list: Rect) {
        let dlq = &self.app.dlq;
        let text = if self.app.figures.is_none() {
            "not read yet"
        } else if dlq.searching().is_some() {
            "searching"
        } else if dlq.filter_text.is_empty() {
            "no dead letters: every lead given up was dealt with"
        } else {
            "no dead letter matches the filter; esc takes it away"
        };
        self.note(frame, list, text);
    }

    /// Whether a dead letter is marked, or about to be.
    fn sign_of(&self, letter: &DeadLetter, index: usize) -> &'static str {
        let marked = self.app.dlq.marks.contains(letter.id());
        match (marked, self.app.dlq.in_range(index)) {
            (true, _) => self.signs.mark,
            (false, true) => self.signs.ring,
            (false, false) => " ",
        }
    }

    pub(super) fn letter_line(
        &self,
        letter: &DeadLetter,
        sign: &str,
        name: usize,
        error: usize,
    ) -> Line<'static> {
        let envelope = &letter.envelope;
        let age = age(self.app.now(), envelope.failed_at);
        let tries = match envelope.attempts.len() {
            0 => "-".into(),
            n => n.to_string(),
        };
        let (who, what) = named(letter);
        let style = if what == Place::Lead {
            self.theme.dim
        } else {
            self.theme.text
        };
        let mut spans = vec![
            Span::styled(format!(" {sign} "), self.theme.accent),
            Span::styled(format!("{age:>5} {tries:>5}  "), self.theme.dim),
        ];
        let who = fit(&who, name);
        let why = brief(&error_or_unknown(letter));
        let unseen = self.unseen(letter, &[(what, &who), (Place::Error, &clip(&why, error))]);
        let (why, aside) = match unseen {
            None => (why, Vec::new()),
            // The error from there on, instead of from its beginning.
            Some((Place::Error, part)) => {
                let from = before(&envelope.error, part.start);
                (format!("…{}", &envelope.error[from..]), Vec::new())
            }
            Some(unseen) => (why, self.aside(letter, unseen, error * 3 / 5)),
        };
        let taken: usize = aside.iter().map(Span::width).sum();
        let why = fit(&why, error.saturating_sub(taken));
        spans.extend(self.found(what, &who, style));
        spans.push(Span::raw(" "));
        spans.extend(self.found(Place::Error, &why, self.theme.text));
        spans.extend(aside);
        Line::from(spans)
    }

    /// A text of a dead letter, with what the filter looks for in it.
    fn found(&self, place: Place, text: &str, style: Style) -> Vec<Span<'static>> {
        let wanted = self.app.dlq.filter().wanted();
        let parts = wanted.flat_map(|wanted| wanted.ranges(place, text));
        marked(text, style, self.theme.hit, parts.collect())
    }

    /// Something that the filter looks for and that none of the shown texts shows, by where it is.
    fn unseen(
        &self,
        letter: &DeadLetter,
        shown: &[(Place, &str)],
    ) -> Option<(Place, Range<usize>)> {
        let seen = |wanted: &&Wanted| {
            let mut shown = shown.iter();
            shown.any(|(place, text)| !wanted.ranges(*place, text).is_empty())
        };
        let wanted = self
            .app
            .dlq
            .filter()
            .wanted()
            .find(|wanted| !seen(wanted))?;
        wanted.found_in(&Texts::of(letter))
    }

    /// Where it is found instead, in at most a width: a row always shows why it is there.
    fn aside(
        &self,
        letter: &DeadLetter,
        (place, part): (Place, Range<usize>),
        width: usize,
    ) -> Vec<Span<'static>> {
        let texts = Texts::of(letter);
        let text = texts.get(place);
        let label = format!("  {}: ", place.name());
        let room = width.saturating_sub(label.width());
        let hit = clip(&text[part.clone()], room);
        let room = room - hit.width();
        let before = clip(&text[before(text, part.start)..part.start], room);
        let after = clip(&text[part.end..], room - before.width());
        vec![
            Span::styled(label, self.theme.dim),
            Span::styled(before, self.theme.dim),
            Span::styled(hit, self.theme.text.patch(self.theme.hit)),
            Span::styled(after, self.theme.dim),
        ]
    }

    fn groups(&self, frame: &mut Frame<'_>, heading: Rect, list: Rect) {
        let dlq = &self.app.dlq;
        let width = usize::from(list.width);
        let cause = width.saturating_sub(40);
        let titles = format!(
            " {:>9} {:>6} {:>6}  {} {}",
            "count",
            "last",
            "first",
            fit("station", 12),
            fit("cause", cause)
        );
        Self::line(
            frame,
            heading,
            Line::from(clip(&titles, width)),
            self.theme.dim,
        );
        let groups = dlq.groups();
        if groups.is_empty() {
            self.nothing(frame, list);
        }
        let now = self.app.now();
        for (n, index) in dlq
            .groups_at
            .rows(groups.len(), list.height.into())
            .enumerate()
        {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let group = &groups[index];
            let line = Line::from(vec![
                Span::styled(format!(" {:>9}", thousands(group.count)), self.theme.figure),
                Span::styled(
                    format!(
                        " {:>6} {:>6}  ",
                        age(now, group.last),
                        age(now, group.first)
                    ),
                    self.theme.dim,
                ),
                Span::styled(fit(&group.station, 12), self.theme.text),
                Span::raw(" "),
                Span::styled(fit(&brief(&group.cause.text), cause), self.theme.text),
            ]);
            let here = index == dlq.groups_at.cursor;
            self.entry(frame, row, line, here);
        }
    }

    /// The opened dead letter over the whole screen.
    pub(super) fn opened(&self, frame: &mut Frame<'_>, body: Rect) {
        if let Some(letter) = &self.app.dlq.letter {
            self.letter(frame, body, letter, true);
        }
    }
}

/// A few characters before a place in a text, so that what stands there is not torn out of it.
fn before(text: &str, place: usize) -> usize {
    let before = text[..place].char_indices().rev();
    before.take(8).last().map_or(place, |(at, _)| at)
}

/// Who a dead letter is about: a name, a URL, or else what its bytes begin with.
fn named(letter: &DeadLetter) -> (String, Place) {
    let lead = &letter.envelope.lead;
    // A large one would have to be read anew for each frame.
    if lead.len() <= HEAD {
        let texts = Texts::of(letter);
        for place in [Place::Name, Place::Url] {
            let who = texts.get(place);
            if who.width() > 0 {
                return (who.to_owned(), place);
            }
        }
    }
    let start = &lead[..lead.len().min(200)];
    (String::from_utf8_lossy(start).into_owned(), Place::Lead)
}

/// A lead for one row; not of a large one, which would have to be read anew for each frame.
pub(super) fn brief_lead(bytes: &[u8]) -> Option<Lead> {
    (bytes.len() <= HEAD)
        .then(|| Lead::parse(bytes).ok())
        .flatten()
}
