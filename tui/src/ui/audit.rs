//! Who changed what.

use bridge_shared::store::look::AuditEntry;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Ui;
use crate::layout;
use crate::text::{age, fit, thousands};

impl Ui<'_> {
    pub(super) fn audit(&self, frame: &mut Frame<'_>, body: Rect) {
        let [heading, list] = layout::headed(body);
        let who = if body.width < 72 { 14 } else { 20 };
        let titles = format!(
            " {:<8} {:>4}  {} {:<9} {:>7}  which",
            "at",
            "ago",
            fit("who", who),
            "did",
            "count"
        );
        Self::line(frame, heading, Line::from(titles), self.theme.dim);
        let window = &self.app.audit;
        if window.count() == 0 {
            let text = if window.known {
                "nobody has changed anything yet"
            } else {
                "not read yet"
            };
            self.note(frame, list, text);
        }
        let width = list.width.into();
        self.window_rows(frame, list, window, |entry, _| {
            self.audit_line(entry, who, width)
        });
    }

    fn audit_line(&self, entry: &AuditEntry, who: usize, width: usize) -> Line<'static> {
        let style = match entry.what.as_str() {
            "cleared" | "dropped" => self.theme.bad,
            "paused" => self.theme.warn,
            _ => self.theme.accent,
        };
        let count = if entry.count == 0 {
            String::new()
        } else {
            thousands(entry.count)
        };
        Line::from(vec![
            Span::styled(
                format!(
                    " {} {:>4}  ",
                    self.time(entry.at),
                    age(self.app.now(), Some(entry.at))
                ),
                self.theme.dim,
            ),
            Span::styled(fit(&entry.who, who), self.theme.text),
            Span::styled(format!(" {}", fit(&entry.what, 9)), style),
            Span::styled(format!(" {count:>7}  "), self.theme.figure),
            Span::styled(
                fit(&entry.detail, width.saturating_sub(36 + who)),
                self.theme.dim,
            ),
        ])
    }
}
