//! Pictures of the console for the documents, drawn from the demo as it runs.

use std::path::Path;
use std::time::Duration;

use bridge_shared::store::Store;

use crate::cli::output::{CommandError, line};
use crate::console::{ConsoleArgs, options};
use crate::environments::Environments;
use crate::theme::{Theme, ThemeName};
use crate::{once, picture};

/// How long the demo runs before, so that the charts have something to show.
const WARM_UP: Duration = Duration::from_secs(120);

/// Name, size and keys of each picture.
const PICTURES: &[(&str, (u16, u16), &str)] = &[
    ("overview", (110, 32), "1"),
    ("dlq", (130, 32), "3 j j space space j"),
    ("groups", (100, 20), "3 f"),
    ("live", (100, 24), "2"),
];

/// Draws them into a folder, which must be there.
///
/// # Errors
/// [`CommandError`] where a file cannot be written.
pub(super) async fn draw(
    store: &Store,
    console: &ConsoleArgs,
    folder: &Path,
) -> Result<(), CommandError> {
    tokio::time::sleep(WARM_UP).await;
    for (name, size, keys) in PICTURES {
        let options = options(store, console, &Environments::default())?;
        let theme = Theme::new(ThemeName::Dark);
        let (frame, _) = once::frame(store.clone(), options, *size, keys, &theme).await?;
        let file = folder.join(format!("{name}.svg"));
        std::fs::write(&file, picture::svg(&frame, true)).map_err(|error| {
            CommandError::Said(format!("cannot write {}: {error}", file.display()))
        })?;
        line(&format!("drawn: {}", file.display()))?;
    }
    Ok(())
}
