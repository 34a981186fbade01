//! Progress in place: a line for each blob, as `docker pull` has it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use berth_distribution::{LayerState, Progress};
use berth_image::Digest;

use super::units::size;
use crate::terminal;

/// Least time between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// Characters of a bar.
const BAR: usize = 30;
/// If the terminal does not tell its size.
const USUAL: (u16, u16) = (24, 80);

/// What is on the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    blobs: Vec<Blob>,
    /// Lines that are drawn, to be drawn over.
    drawn: usize,
    last: Option<Instant>,
    stale: bool,
}

#[derive(Debug)]
struct Blob {
    digest: Digest,
    size: u64,
    state: LayerState,
}

impl Screen {
    /// Takes an event in; what to write.
    pub(super) fn event(&mut self, event: &Progress) -> String {
        match event {
            Progress::Layer {
                digest,
                size,
                state,
            } => {
                let known = self.blobs.iter_mut().find(|blob| blob.digest == *digest);
                let was_moving = match known {
                    Some(blob) => {
                        let moving = is_moving(&blob.state);
                        blob.state.clone_from(state);
                        moving
                    }
                    None => {
                        self.blobs.push(Blob {
                            digest: digest.clone(),
                            size: *size,
                            state: state.clone(),
                        });
                        false
                    }
                };
                self.stale = true;
                let due = self.last.is_none_or(|last| last.elapsed() >= FRAME);
                if due || !(was_moving && is_moving(state)) {
                    return self.draw(None);
                }
                String::new()
            }
            other => match super::lines::line(other) {
                Some(line) => self.draw(Some(&line)),
                None => String::new(),
            },
        }
    }

    /// The last state.
    pub(super) fn end(&mut self) -> String {
        if self.stale {
            self.draw(None)
        } else {
            String::new()
        }
    }

    /// Draws over what is there; `above` is a line that stays.
    fn draw(&mut self, above: Option<&str>) -> String {
        let (rows, columns) = terminal::error_size().unwrap_or(USUAL);
        let (rows, columns) = (usize::from(rows), usize::from(columns));
        let mut out = String::new();
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A", self.drawn);
        }
        out.push_str("\r\x1b[J");
        if let Some(above) = above {
            let _ = writeln!(out, "{above}");
        }
        // On a small terminal those that are under way.
        let room = rows.saturating_sub(2).max(1);
        let settled = self.blobs.len().saturating_sub(room);
        let mut skip = settled;
        let mut shown = 0;
        for blob in &self.blobs {
            if skip > 0 && is_settled(&blob.state) {
                skip -= 1;
                continue;
            }
            if shown == room {
                break;
            }
            let line = blob.line();
            let line = terminal::cut(&line, columns.saturating_sub(1));
            let _ = writeln!(out, "{line}");
            shown += 1;
        }
        self.drawn = shown;
        self.last = Some(Instant::now());
        self.stale = false;
        out
    }
}

fn is_moving(state: &LayerState) -> bool {
    matches!(
        state,
        LayerState::Downloading { .. } | LayerState::Uploading { .. }
    )
}

fn is_settled(state: &LayerState) -> bool {
    matches!(
        state,
        LayerState::Done | LayerState::Exists | LayerState::Mounted { .. }
    )
}

impl Blob {
    fn line(&self) -> String {
        let text = match &self.state {
            LayerState::Exists => "Already exists".to_owned(),
            LayerState::Downloading { bytes } => self.bar("Downloading", *bytes),
            LayerState::Uploading { bytes } => self.bar("Pushing", *bytes),
            LayerState::Unpacking => "Unpacking".to_owned(),
            LayerState::Mounted { from } => format!("Mounted from {from}"),
            LayerState::Retrying { reason, .. } => format!("Retrying: {reason}"),
            LayerState::Done => format!("Done  {}", size(self.size)),
        };
        format!("{}: {text}", self.digest.short())
    }

    fn bar(&self, what: &str, bytes: u64) -> String {
        let part = usize::try_from(bytes.saturating_mul(BAR as u64) / self.size.max(1));
        let part = part.unwrap_or(BAR).min(BAR);
        let head = if part < BAR { ">" } else { "" };
        let bar = format!("{}{head}", "=".repeat(part));
        format!("{what:11} [{bar:BAR$}] {}/{}", size(bytes), size(self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &[u8], state: LayerState) -> Progress {
        Progress::Layer {
            digest: Digest::of(name),
            size: 2_000_000,
            state,
        }
    }

    #[test]
    fn a_line_for_each_blob_is_drawn_over_the_last_ones() {
        let mut screen = Screen::default();
        let first = screen.event(&event(b"a", LayerState::Downloading { bytes: 1_000_000 }));
        let short = Digest::of(b"a").short().to_owned();
        assert_eq!(
            first,
            format!(
                "\r\x1b[J{short}: Downloading [===============>              ] 1.0 MB/2.0 MB\n"
            )
        );
        let second = screen.event(&event(b"b", LayerState::Exists));
        assert!(second.starts_with("\x1b[1A\r\x1b[J"), "{second:?}");
        assert_eq!(second.matches('\n').count(), 2);
        // Too soon to be drawn; the end draws it.
        let bytes = 1_500_000;
        assert_eq!(
            screen.event(&event(b"a", LayerState::Downloading { bytes })),
            ""
        );
        assert!(screen.end().contains("1.5 MB/2.0 MB"));
        assert_eq!(screen.end(), "");
        let note = Progress::Note {
            message: "mirror".to_owned(),
        };
        assert!(screen.event(&note).starts_with("\x1b[2A\r\x1b[Jmirror\n"));
    }
}
