//! How long a script has held Redis, over all that was measured. Redis itself keeps that in its
//! slow log. Where other work takes the processor from Redis meanwhile, that time is in it too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use redis::Value;

use crate::report::{Report, Target};
use crate::rig::Rig;

/// Commands that take microseconds: where they took long, that was the machine.
const NOTHING: &str = "XADD, LLEN and the like, which is the machine's doing";

/// What a script may take: longer, and others notice.
const LIMIT_MS: f64 = 5.0;

/// The longest time of each script, in microseconds, and how often it was over the limit.
static WORST: Mutex<Option<HashMap<String, (i64, usize)>>> = Mutex::new(None);

/// Lets Redis note whatever takes longer than half a millisecond.
pub(crate) fn watch(rig: &mut Rig) {
    let _: String = rig.run("CONFIG SET slowlog-log-slower-than 500 slowlog-max-len 100000");
}

/// Takes down what a Redis has noted.
pub(crate) fn note(rig: &mut Rig) {
    let names = names();
    let entries: Vec<Vec<Value>> = rig.run("SLOWLOG GET 100000");
    let mut worst = WORST.lock().expect("no measurement panicked");
    let worst = worst.get_or_insert_default();
    for entry in entries {
        let [_, _, Value::Int(us), Value::Array(words), ..] = entry.as_slice() else {
            continue;
        };
        let word = |at: usize| match words.get(at) {
            Some(Value::BulkString(word)) => String::from_utf8_lossy(word),
            _ => "".into(),
        };
        // HKEYS reads what is in a worker's hands.
        let name = match &*word(0).to_ascii_lowercase() {
            "evalsha" => names.get(&*word(1)).map(|name| format!("{name}.lua")),
            "hkeys" => Some("HKEYS".to_owned()),
            "xadd" | "xlen" | "llen" | "hlen" => Some(NOTHING.to_owned()),
            _ => None,
        };
        if let Some(name) = name {
            let (longest, over) = worst.entry(name).or_default();
            *longest = (*us).max(*longest);
            #[allow(clippy::cast_precision_loss)]
            if *us as f64 > LIMIT_MS * 1_000.0 {
                *over += 1;
            }
        }
    }
}

/// Adds them to the report.
pub(crate) fn tell(report: &mut Report) {
    let Some(worst) = WORST.lock().expect("no measurement panicked").take() else {
        return;
    };
    report.begin("scripts");
    let mut worst = worst;
    let (nothing, _) = worst.remove(NOTHING).unwrap_or_default();
    #[allow(clippy::cast_precision_loss)]
    report.add(
        format!("longest call of {NOTHING}"),
        nothing as f64 / 1_000.0,
        "ms",
    );
    let mut worst: Vec<_> = worst.into_iter().collect();
    worst.sort_by_key(|(_, (us, _))| -us);
    for (i, (name, (us, over))) in worst.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let ms = *us as f64 / 1_000.0;
        let what = match over {
            0 => format!("longest call of {name}"),
            over => format!("longest call of {name}, of {over} over the limit"),
        };
        if i == 0 {
            report.judge(what, ms, "ms", Target::AtMost(LIMIT_MS));
        } else {
            report.add(what, ms, "ms");
        }
    }
}

/// The names of the scripts by the hash that Redis knows them by.
fn names() -> HashMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src/store");
    let read = |file: &Path| std::fs::read_to_string(file).expect("a script's file");
    let prelude = read(&folder.join("prelude.lua"));
    let files = std::fs::read_dir(&folder).expect("the scripts' folder");
    files
        .map(|file| file.expect("a file").path())
        .filter(|file| file.extension().is_some_and(|end| end == "lua"))
        .map(|file| {
            let script = redis::Script::new(&format!("{prelude}{}", read(&file)));
            let name = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (script.get_hash().to_owned(), name)
        })
        .collect()
}
