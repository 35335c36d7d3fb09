//! The figures, their targets, and whether these are met.

use std::process::ExitCode;

use serde::Serialize;

/// What a figure must come to.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn shown(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {}", figure(least, unit)),
            Self::AtMost(most) => format!("<= {}", figure(most, unit)),
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    what: String,
    /// Missing where this system does not tell.
    value: Option<f64>,
    unit: &'static str,
    target: Option<Target>,
    met: Option<bool>,
}

/// All that was measured.
pub(crate) struct Report {
    talks: bool,
    measure: &'static str,
    rows: Vec<Row>,
}

impl Report {
    /// One that says on standard error what is under way, if it `talks`, and shows each figure as
    /// it comes.
    pub(crate) fn new(talks: bool) -> Self {
        let report = Self {
            talks,
            measure: "",
            rows: Vec::new(),
        };
        if talks {
            println!("{:<58} {:>14}  {:<12} met", "", "figure", "target");
        }
        report
    }

    pub(crate) fn begin(&mut self, measure: &'static str) {
        self.measure = measure;
        if self.talks {
            println!("{measure}");
        }
    }

    /// A figure without a target.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
    ) {
        self.row(what.into(), value.into(), unit, None);
    }

    /// A figure with its target.
    pub(crate) fn judge(
        &mut self,
        what: impl Into<String>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
        target: Target,
    ) {
        self.row(what.into(), value.into(), unit, Some(target));
    }

    fn row(
        &mut self,
        what: String,
        value: Option<f64>,
        unit: &'static str,
        target: Option<Target>,
    ) {
        let met = target.and_then(|target| value.map(|value| target.is_met(value)));
        if self.talks {
            let shown = value.map_or_else(|| "not known".into(), |value| figure(value, unit));
            let aim = target.map(|target| target.shown(unit)).unwrap_or_default();
            let word = met.map_or("", |met| if met { "yes" } else { "NO" });
            println!("  {what:<56} {shown:>14}  {aim:<12} {word}");
        }
        self.rows.push(Row {
            measure: self.measure,
            what,
            value,
            unit,
            target,
            met,
        });
    }

    /// Says how it went; the status is 1 where a target was missed.
    pub(crate) fn finish(self, as_json: bool) -> ExitCode {
        if as_json {
            let processors = std::thread::available_parallelism().map_or(0, usize::from);
            let all = serde_json::json!({ "v": 1, "processors": processors, "figures": self.rows });
            println!("{all}");
        }
        let missed = self
            .rows
            .iter()
            .filter(|row| row.met == Some(false))
            .count();
        if self.talks {
            let judged = self.rows.iter().filter(|row| row.met.is_some()).count();
            println!(
                "{} of {judged} targets met; every lead came out exactly once",
                judged - missed
            );
        }
        if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// A figure with as many places as mean something.
fn figure(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        size if size >= 1_000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    format!("{number} {unit}").trim_end().to_owned()
}

pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The one that a share of them is below.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let rank = ((values.len() - 1) as f64 * share).round() as usize;
    values[rank]
}
