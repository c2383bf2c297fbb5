//! Progress: a bar on a terminal, a line now and then without one, an object now and then for a program.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Output, human};
use crate::report::Progress;

/// Time between two drawings of a bar.
const BAR_INTERVAL: Duration = Duration::from_millis(200);
/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two objects for a program.
const OBJECT_INTERVAL: Duration = Duration::from_secs(1);

/// Draws progress until it is dropped.
pub(crate) struct ProgressDisplay {
    pub(super) bar: Option<ProgressBar>,
    stop: Option<Sender<()>>,
    worker: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
enum Form {
    Bar,
    Lines,
    Objects,
}

impl ProgressDisplay {
    pub(super) fn start(verb: &'static str, output: &Output, progress: Arc<Progress>) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let form = match (output.quiet, output.json, terminal) {
            (true, _, _) => return Self { bar: None, stop: None, worker: None },
            (false, true, _) => Form::Objects,
            (false, false, true) => Form::Bar,
            (false, false, false) => Form::Lines,
        };
        let bar = matches!(form, Form::Bar).then(new_bar);
        let (stop, stopped) = bounded::<()>(0);
        let drawn = bar.clone();
        let json = Output::with(output.json, output.quiet, output.verbose);
        let worker = std::thread::Builder::new().name("progress".into()).spawn(move || {
            let started = Instant::now();
            let interval = match form {
                Form::Bar => BAR_INTERVAL,
                Form::Lines => LINE_INTERVAL,
                Form::Objects => OBJECT_INTERVAL,
            };
            while stopped.recv_timeout(interval).is_err_and(|error| error.is_timeout()) {
                match (form, &drawn) {
                    (Form::Bar, Some(bar)) => draw(bar, verb, &progress, started.elapsed()),
                    (Form::Objects, _) => object(&json, &progress, started.elapsed()),
                    _ => json.note(&text(verb, &progress, started.elapsed()), None),
                }
            }
        });
        Self { bar, stop: Some(stop), worker: worker.ok() }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            // Only a drawing is lost.
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

fn draw(bar: &ProgressBar, verb: &str, progress: &Progress, elapsed: Duration) {
    bar.set_message(text(verb, progress, elapsed));
    bar.tick();
}

/// One line: what is done of what, how fast, how long it will take.
fn text(verb: &str, progress: &Progress, elapsed: Duration) -> String {
    let (files, files_total) = progress.files();
    let (bytes, bytes_total) = progress.bytes();
    let stage = progress.stage();
    let whole =
        |duration: Duration| human::duration(Duration::from_secs(duration.as_secs())).replace(".00", "");
    let mut parts = vec![format!("[{}] {verb}", whole(elapsed))];
    if bytes_total > 0 {
        let percent = bytes.saturating_mul(100).checked_div(bytes_total).unwrap_or(0).min(100);
        parts.push(format!("{percent} %"));
    }
    if files > 0 || files_total > 0 {
        let of = if files_total > 0 {
            format!(" of {}", human::count(files_total.max(files)))
        } else {
            String::new()
        };
        let noun = if files_total.max(files) == 1 { "file" } else { "files" };
        parts.push(format!("{}{of} {noun}", human::count(files)));
    }
    if bytes > 0 {
        let of = if bytes_total > 0 {
            format!(" of {}", human::bytes(bytes_total.max(bytes)))
        } else {
            String::new()
        };
        parts.push(format!("{}{of}", human::bytes(bytes)));
        parts.push(format!("{}/s", human::bytes(rate(bytes, elapsed))));
    }
    if let Some(left) = time_left(bytes, bytes_total, elapsed) {
        parts.push(format!("{} left", whole(left)));
    }
    if !stage.is_empty() {
        parts.push(stage);
    }
    parts.join(", ")
}

fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / milliseconds
}

fn time_left(bytes: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let left = total.checked_sub(bytes).filter(|left| *left > 0 && bytes > 0)?;
    Some(Duration::from_secs(left / rate(bytes, elapsed).max(1))).filter(|left| !left.is_zero())
}

fn object(output: &Output, progress: &Progress, elapsed: Duration) {
    let (files, files_total) = progress.files();
    let (bytes, bytes_total) = progress.bytes();
    let percent = bytes.min(bytes_total).saturating_mul(1000).checked_div(bytes_total).unwrap_or(0);
    let status = json!({
        "message_type": "status",
        "seconds_elapsed": elapsed.as_secs(),
        "seconds_remaining": time_left(bytes, bytes_total, elapsed).map(|left| left.as_secs()),
        "percent_done": f64::from(u32::try_from(percent).unwrap_or(0)) / 1000.0,
        "total_files": files_total,
        "files_done": files,
        "total_bytes": bytes_total,
        "bytes_done": bytes,
        "stage": progress.stage(),
    });
    if output.object(&status).is_err() {
        // Whoever read is gone.
    }
}
