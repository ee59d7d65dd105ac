//! Log records of the native parts as lines on stderr, in the form of core/src/log.ts: one JSON object a
//! line, the event's name first, fixed keys. A full or closed stderr never stops anything.

use log::kv::{Error as VisitError, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use napi_derive::napi;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

struct Lines {
    process: String,
}

static LINES: OnceLock<Lines> = OnceLock::new();

/// From here on, of this level and above; the first call counts.
#[napi]
pub fn start_log(process: String, level: String) {
    let filter = match level.as_str() {
        "debug" => LevelFilter::Debug,
        "warning" => LevelFilter::Warn,
        "error" => LevelFilter::Error,
        _ => LevelFilter::Info,
    };
    if log::set_logger(LINES.get_or_init(|| Lines { process })).is_ok() {
        log::set_max_level(filter);
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let mut line = format!("{{\"time\":\"{}\",\"level\":\"{level}\",\"event\":", wall_time());
        push_text(&mut line, &record.args().to_string());
        line.push_str(",\"process\":");
        push_text(&mut line, &self.process);
        line.push_str(",\"part\":");
        push_text(&mut line, record.target());
        // A value that cannot be written is left out.
        let _ = record.key_values().visit(&mut Fields(&mut line));
        line.push_str("}\n");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

struct Fields<'line>(&'line mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), VisitError> {
        self.0.push(',');
        push_text(self.0, key.as_str());
        self.0.push(':');
        // As in core: numbers beyond 53 bits are text.
        match (value.to_bool(), value.to_i64()) {
            (Some(boolean), _) => write!(self.0, "{boolean}")?,
            (None, Some(number)) if number.unsigned_abs() < 1 << 53 => write!(self.0, "{number}")?,
            _ => push_text(self.0, &value.to_string()),
        }
        Ok(())
    }
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                line.push('\\');
                line.push(character);
            }
            control if control < ' ' => {
                let _ = write!(line, "\\u{:04x}", control as u32);
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

/// As JavaScript's `toISOString`.
fn wall_time() -> String {
    let now = clock_gettime(ClockId::Realtime);
    let (days, second) = (now.tv_sec.div_euclid(86_400), now.tv_sec.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) =
        (second / 3600, second / 60 % 60, second % 60, now.tv_nsec / 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Days since 1970 as a date: the algorithm `civil_from_days` of Howard Hinnant, with March as the first
/// month of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
