//! What a frame of the console costs: its screens drawn anew into a buffer, as after each message.
//! `cargo bench --bench draw`.

// The console is a program and no library, so its state and its drawing are taken in as they stand
// in `main.rs`; what only the rest of the program needs of them lies idle here.
#![allow(dead_code, unused_imports)]

#[path = "../src/app/mod.rs"]
mod app;
#[path = "../src/config.rs"]
mod config;
#[path = "../src/groups.rs"]
mod groups;
#[path = "../src/keymap.rs"]
mod keymap;
#[path = "../src/layout.rs"]
mod layout;
#[path = "../src/message.rs"]
mod message;
#[path = "../src/path.rs"]
mod path;
#[path = "../src/picture.rs"]
mod picture;
#[path = "../src/screen.rs"]
mod screen;
#[path = "../src/text.rs"]
mod text;
#[path = "../src/theme/mod.rs"]
mod theme;
#[path = "../src/ui/mod.rs"]
mod ui;
#[path = "../src/update/mod.rs"]
mod update;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use app::scene::{Scene, events};
use message::Message;
use theme::{Theme, ThemeName};

/// The smallest terminal that is common, and a large one.
const SIZES: [(u16, u16); 2] = [(80, 24), (200, 60)];
/// Each screen, and the key that opens it.
const SCREENS: [(&str, &str); 3] = [("overview", "1"), ("live", "2"), ("dlq", "3")];

fn draw(criterion: &mut Criterion) {
    let theme = Theme::new(ThemeName::Dark);
    for (screen, key) in SCREENS {
        let mut group = criterion.benchmark_group(screen);
        for (columns, rows) in SIZES {
            let mut scene = Scene::busy(columns, rows);
            scene.press(key);
            // As full as the list of live events gets.
            for _ in 0..400 {
                scene.send(Message::Events(events(), 0));
            }
            let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
            group.bench_function(format!("{columns}x{rows}"), |bencher| {
                bencher.iter(|| {
                    let Ok(frame) = terminal.draw(|frame| ui::draw(frame, &scene.app, &theme));
                    black_box(frame.count);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, draw);
criterion_main!(benches);
