//! Time spans, sizes and margins, as people write them.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;

use super::error::Code;
use super::value::{Fault, FromText};
use crate::grant::Margin;

/// Longer than anything here is ever waited for, and short enough that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A span longer than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

/// A span that may be `"0s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanOrZero(pub(super) Duration);

/// A limit in time; `"0s"` means there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanOrNone(pub(super) Option<Duration>);

const WHAT: &str = "a time span such as \"30s\", in quotes";

fn seconds(number: i64) -> Option<String> {
    (number >= 0).then(|| format!("\"{number}s\""))
}

fn span(text: &str) -> Result<Duration, Fault> {
    let not = |why: &str| Fault::new(Code::BadDuration, why);
    if let Ok(number) = text.parse() {
        let fault = not("has a number without a unit");
        return Err(Fault { help: seconds(number).map(|instead| format!("write {instead}")), ..fault });
    }
    let span: SignedDuration = text
        .parse()
        .map_err(|_| not("is not a time span").help("write it as \"30s\", \"5m\" or \"1h 30m\""))?;
    let span = Duration::try_from(span).map_err(|_| not("must not be negative"))?;
    if span > LONGEST {
        return Err(not("is longer than a year").help("\"8760h\" is the longest span"));
    }
    Ok(span)
}

impl FromText for Span {
    const WHAT: &str = WHAT;

    fn from_text(text: &str) -> Result<Self, Fault> {
        match span(text)? {
            Duration::ZERO => Err(Fault::new(Code::BadDuration, "must be longer than none")),
            span => Ok(Self(span)),
        }
    }

    fn instead_of(number: i64) -> Option<String> {
        seconds(number)
    }
}

impl FromText for SpanOrZero {
    const WHAT: &str = WHAT;

    fn from_text(text: &str) -> Result<Self, Fault> {
        span(text).map(Self)
    }

    fn instead_of(number: i64) -> Option<String> {
        seconds(number)
    }
}

impl FromText for SpanOrNone {
    const WHAT: &str = WHAT;

    fn from_text(text: &str) -> Result<Self, Fault> {
        span(text).map(|span| Self(Some(span).filter(|span| !span.is_zero())))
    }

    fn instead_of(number: i64) -> Option<String> {
        seconds(number)
    }
}

/// A size in bytes, from `LEAST` to `MOST` KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size<const LEAST: u64, const MOST: u64>(pub(super) usize);

impl<const LEAST: u64, const MOST: u64> FromText for Size<LEAST, MOST> {
    const WHAT: &str = "a size such as \"64KiB\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadSize, why).help("write it as \"64KiB\"");
        if let Ok(number) = text.parse::<i64>() {
            let fault = Fault::new(Code::BadSize, "has a number without a unit");
            return Err(Fault {
                help: Self::instead_of(number).map(|instead| format!("write {instead}")),
                ..fault
            });
        }
        let size: ByteSize = text.parse().map_err(|_| not("is not a size"))?;
        let fits = (ByteSize::kib(LEAST)..=ByteSize::kib(MOST)).contains(&size);
        let bytes = usize::try_from(size.as_u64()).ok().filter(|_| fits);
        let bounds = || format!("must be from \"{LEAST}KiB\" to \"{}MiB\"", MOST / 1024);
        bytes.map(Self).ok_or_else(|| Fault::new(Code::BadSize, bounds()))
    }

    fn instead_of(number: i64) -> Option<String> {
        match number {
            ..0 => None,
            _ if number % 1024 == 0 => Some(format!("\"{}KiB\"", number / 1024)),
            _ => Some(format!("\"{number}B\"")),
        }
    }
}

impl FromText for Margin {
    const WHAT: &str = "a share such as \"20%\" or a time span such as \"90s\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let Some(percent) = text.strip_suffix('%') else {
            return Span::from_text(text).map(|span| Self::Span(span.0));
        };
        let share = percent.trim().parse::<f64>().map(|percent| percent / 100.0);
        let share = share.ok().filter(|share| *share > 0.0 && *share < 1.0);
        share.map(Self::Share).ok_or_else(|| {
            Fault::new(Code::BadDuration, "must be more than 0 % and less than 100 %")
                .help("write it as \"20%\"")
        })
    }

    fn instead_of(number: i64) -> Option<String> {
        seconds(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let read = |text| span(text).unwrap().as_millis();
        assert_eq!(
            (read("30s"), read("5m"), read("1h 30m"), read("250ms")),
            (30_000, 300_000, 5_400_000, 250)
        );
        assert_eq!(SpanOrNone::from_text("0s").unwrap(), SpanOrNone(None));
        assert_eq!(SpanOrZero::from_text("0s").unwrap(), SpanOrZero(Duration::ZERO));
        for wrong in ["", "soon", "-5s", "30", "0s", "100000h", "99999999999999999999h"] {
            assert!(Span::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_stay_within_reason() {
        type HeaderSize = Size<8, 1024>;
        assert_eq!(HeaderSize::from_text("64KiB").unwrap(), Size(65_536));
        assert_eq!(Size::<0, 1024>::from_text("0KiB").unwrap(), Size(0));
        let too_long = Size::<0, 1024>::from_text("2MiB").unwrap_err();
        assert!(format!("{too_long:?}").contains("from \\\"0KiB\\\" to \\\"1MiB\\\""), "{too_long:?}");
        for wrong in ["", "65536", "64", "1KiB", "2MiB", "-1KiB", "64 gnus", "99999999999999999999EiB"] {
            assert!(HeaderSize::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_margin_is_a_share_or_a_span() {
        assert_eq!(Margin::from_text("20%").unwrap(), Margin::Share(0.2));
        assert_eq!(Margin::from_text("90s").unwrap(), Margin::Span(Duration::from_secs(90)));
        for wrong in ["0%", "100%", "-5%", "NaN%", "inf%", "%", "20", "0s"] {
            assert!(Margin::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
