//! `jsonl`: appends each lead as a line `{"id":...,"lead":{...}}` to a file, and has the disk
//! confirm each batch.
//!
//! A worker that dies after the write and before the outcome is recorded leaves the lead to
//! another one, which writes it again: a line may be there twice, with the same `id`. A line that a
//! crash cut short stays alone, as the next batch begins on a line of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bridge_shared::json::{on_one_line, push_text};
use futures::future::{BoxFuture, FutureExt as _};

use super::super::keys::Keys;
use super::{Enriched, Made, Sink, Verdict};

#[derive(Debug)]
struct Jsonl {
    path: PathBuf,
    /// The file while it is open; several batches may be under way.
    file: Arc<Mutex<Option<File>>>,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Made> {
    let path = keys.path("path");
    let path = keys.need("path", path, "path = \"enriched.jsonl\"")?;
    let (place, file) = (path.span(), path.get_ref());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if file.is_dir() {
        keys.wrong(
            &place,
            format!("{} is a folder", file.display()),
            "name a file in it, such as enriched.jsonl",
        );
    } else if folder.is_some_and(|folder| !folder.is_dir()) {
        keys.wrong(
            &place,
            format!("there is no folder for {}", file.display()),
            "make the folder, or name another file",
        );
    }
    Some(Made::Other(Box::new(Jsonl {
        path: path.into_inner(),
        file: Arc::default(),
    })))
}

impl Sink for Jsonl {
    fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>> {
        let (lines, n) = (lines(leads), leads.len());
        let (path, file) = (self.path.clone(), Arc::clone(&self.file));
        let append = tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let done = append(&mut file, &path, &lines);
            if done.is_err() {
                // Opened anew the next time, which also finds where the last line ends.
                *file = None;
            }
            done.map_err(|error| format!("cannot append to {}: {error}", path.display()))
        });
        async move {
            let verdict = match append.await {
                Ok(Ok(())) => Verdict::Durable,
                Ok(Err(error)) => Verdict::away(error),
                Err(ended) => Verdict::away(format!("the write came to no end: {ended}")),
            };
            vec![verdict; n]
        }
        .boxed()
    }
}

fn lines(leads: &[Enriched]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(leads.iter().map(|lead| lead.lead.len() + 64).sum());
    for Enriched { id, lead } in leads {
        lines.extend_from_slice(b"{\"id\":");
        push_text(&mut lines, id);
        lines.extend_from_slice(b",\"lead\":");
        // A lead's fields keep the text they came in, line breaks between values included.
        lines.extend(lead.iter().copied().map(on_one_line));
        lines.extend_from_slice(b"}\n");
    }
    lines
}

/// Appends whole lines and waits until the disk has them. Other workers may append to the same
/// file, and it may be renamed at any time to make room for a new one.
fn append(open: &mut Option<File>, path: &Path, lines: &[u8]) -> io::Result<()> {
    loop {
        let file = match open {
            Some(file) => file,
            None => open.insert(opened(path)?),
        };
        file.lock()?;
        if !is_at(file, path)? {
            // Renamed or removed meanwhile: the lock goes with the old file.
            *open = None;
            continue;
        }
        let done = locked_append(file, lines);
        file.unlock()?;
        return done;
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        // Leads are personal data; if others are to read them, let the operator change the mode.
        .mode(0o600)
        .open(path)?;
    // So that a file that was just made is still there after a power cut.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let file = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn locked_append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if end > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let written = (|| {
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        file.sync_data()
    })();
    if written.is_err() {
        // Nobody else appends while the lock is held; should this fail too, the half line stays
        // alone.
        let _ = file.set_len(end);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sink(folder: &tempfile::TempDir) -> Jsonl {
        Jsonl {
            path: folder.path().join("out.jsonl"),
            file: Arc::default(),
        }
    }

    fn lead(id: &str) -> [Enriched; 1] {
        [Enriched {
            id: id.into(),
            lead: Bytes::from_static(b"{\"a\":{\n\"b\":1}}"),
        }]
    }

    #[tokio::test]
    async fn a_lead_is_one_line_and_a_torn_one_stays_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = sink(&folder);
        std::fs::write(&sink.path, "{\"id\":\"to").expect("written");
        assert_eq!(sink.write(&lead("x")).await, [Verdict::Durable]);
        assert_eq!(sink.write(&lead("y")).await, [Verdict::Durable]);
        let text = std::fs::read_to_string(&sink.path).expect("there");
        assert_eq!(
            text,
            "{\"id\":\"to\n{\"id\":\"x\",\"lead\":{\"a\":{ \"b\":1}}}\n{\"id\":\"y\",\"lead\":{\"a\":{ \"b\":1}}}\n"
        );
    }

    #[tokio::test]
    async fn a_file_that_was_renamed_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = sink(&folder);
        sink.write(&lead("x")).await;
        let old = folder.path().join("out.jsonl.1");
        std::fs::rename(&sink.path, &old).expect("renamed");
        assert_eq!(sink.write(&lead("y")).await, [Verdict::Durable]);
        let count = |path: &Path| {
            std::fs::read_to_string(path)
                .expect("there")
                .lines()
                .count()
        };
        assert_eq!((count(&old), count(&sink.path)), (1, 1));
    }

    #[tokio::test]
    async fn only_its_owner_may_read_a_new_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = sink(&folder);
        assert_eq!(sink.write(&lead("x")).await, [Verdict::Durable]);
        let mode = std::fs::metadata(&sink.path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sink = sink(&folder);
        sink.path = folder.path().join("later").join("out.jsonl");
        let verdicts = sink.write(&lead("x")).await;
        assert!(
            matches!(&verdicts[..], [Verdict::NotNow { error, suspect: false, .. }] if error.contains("later")),
            "{verdicts:?}"
        );
        std::fs::create_dir(folder.path().join("later")).expect("made");
        assert_eq!(sink.write(&lead("x")).await, [Verdict::Durable]);
    }
}
