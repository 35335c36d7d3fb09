//! A lead that a worker has brought along its route, dry, station by station.

use bridge_shared::store::dead_letters::DeadLetter;
use serde_json::Value;

use super::letter::Tone;
use super::list::Position;
use crate::text::wrap;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The dead letter whose lead it was.
    pub(crate) dead: DeadLetter,
    /// The worker's answer: the shape of `scrapegoat-worker pipeline run --json`.
    answer: Value,
    /// Where the reader is.
    pub(crate) at: Position,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A station, with its time and cost.
    Station(String),
    /// Something about the station above.
    Detail(String, Tone),
    /// What came of it all.
    Outcome(String, bool),
    /// Nothing.
    Blank,
}

impl Trial {
    /// What came of a lead.
    pub(crate) fn new(dead: DeadLetter, answer: Value) -> Self {
        Self {
            dead,
            answer,
            at: Position::default(),
        }
    }

    /// Everything there is to read, in lines of at most a width.
    pub(crate) fn lines(&self, width: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for stop in self.answer["stations"].as_array().into_iter().flatten() {
            station(stop, width, &mut lines);
            lines.push(Line::Blank);
        }
        let text = |name: &str| self.answer[name].as_str().unwrap_or_default();
        let good = matches!(text("outcome"), "done" | "skipped");
        let mut told = format!(
            "{}, cost ${:.4}",
            text("outcome"),
            self.answer["cost"].as_f64().unwrap_or(0.0)
        );
        for (before, name) in [(" at ", "station"), (": ", "reason"), (", ", "kind")] {
            if !text(name).is_empty() {
                told = format!("{told}{before}{}", text(name));
            }
        }
        lines.extend(
            wrap(&told, width)
                .into_iter()
                .map(|text| Line::Outcome(text, good)),
        );
        lines
    }
}

fn station(stop: &Value, width: usize, lines: &mut Vec<Line>) {
    let name = stop["station"].as_str().unwrap_or_default();
    let inner = width.saturating_sub(2);
    let detail = |text: &str, tone| {
        let wrapped = wrap(text, inner).into_iter();
        wrapped
            .map(|text| Line::Detail(text, tone))
            .collect::<Vec<_>>()
    };
    if let Some(why) = stop["passed_by"].as_str() {
        lines.extend(wrap(name, width).into_iter().map(Line::Station));
        lines.extend(detail(&format!("passed by: {why}"), Tone::Dim));
        return;
    }
    let head = format!(
        "{name}  {} ms, ${:.4}",
        stop["ms"].as_f64().unwrap_or(0.0).round(),
        stop["cost"].as_f64().unwrap_or(0.0)
    );
    lines.extend(wrap(&head, width).into_iter().map(Line::Station));
    let answer = stop["answer"].as_object();
    match answer.filter(|answer| !answer.is_empty()) {
        Some(answer) => {
            for (field, value) in answer {
                lines.extend(detail(&format!("{field}  {value}"), Tone::Plain));
            }
        }
        None if stop["error"].is_null() => lines.extend(detail("changed nothing", Tone::Dim)),
        None => {}
    }
    if let Some(error) = stop["error"].as_str() {
        lines.extend(detail(error, Tone::Bad));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_station_by_station() {
        let answer = serde_json::json!({
            "stations": [
                {"station": "identity", "ms": 0.2, "cost": 0.0, "answer": {"firstName": "Ada"}},
                {"station": "cheap", "passed_by": "its condition is not true"},
                {"station": "enrich", "ms": 12.0, "cost": 0.01, "answer": {}, "error": "HTTP 404: nobody"},
            ],
            "outcome": "failed", "station": "enrich", "kind": "permanent", "reason": "HTTP 404: nobody", "cost": 0.01,
        });
        let dead = DeadLetter::new(0, 1, bytes::Bytes::from_static(b"{}"));
        let lines = Trial::new(dead, answer).lines(60);
        assert_eq!(lines[0], Line::Station("identity  0 ms, $0.0000".into()));
        assert!(lines.contains(&Line::Detail("firstName  \"Ada\"".into(), Tone::Plain)));
        assert!(lines.contains(&Line::Detail("HTTP 404: nobody".into(), Tone::Bad)));
        let end: String = lines
            .iter()
            .filter_map(|line| match line {
                Line::Outcome(text, false) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(
            end,
            "failed, cost $0.0100 at enrich: HTTP 404: nobody, permanent"
        );
    }
}
