//! A reader of OpenMetrics text that forgives nothing: whatever a scraper could stumble over is a failed test.

use std::collections::{BTreeMap, BTreeSet};

/// One sample: its name, its labels as written, its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// A label's value.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    /// The labels but `le`, which tell the series of a histogram.
    fn series(&self) -> Vec<(String, String)> {
        self.labels.iter().filter(|(label, _)| label != "le").cloned().collect()
    }
}

/// A family: its type, and its samples in order.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// Reads a whole exposition.
///
/// # Panics
/// When anything in it is against <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
pub(crate) fn read(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the last line is # EOF");
    let mut families = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in body.lines() {
        match line.strip_prefix("# ").map(|comment| comment.splitn(3, ' ').collect::<Vec<_>>()).as_deref() {
            Some(["HELP", name, help]) => {
                assert!(
                    !help.is_empty() && !families.contains_key(*name),
                    "once, and before its samples: {line}"
                );
                current = Some((*name).to_owned());
            }
            Some(["TYPE", name, kind]) => {
                assert_eq!(current.as_deref(), Some(*name), "right after its help: {line}");
                let family = Family { kind: (*kind).to_owned(), samples: Vec::new() };
                assert!(
                    families.insert((*name).to_owned(), family).is_none(),
                    "a family stands once: {line}"
                );
            }
            Some(_) => panic!("no such comment: {line}"),
            None => {
                let name = current.as_ref().expect("a family before its samples");
                families.get_mut(name).expect("its type").samples.push(sample(line));
            }
        }
    }
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, pairs(labels.strip_suffix('}').expect("an end of the labels"))),
        None => (series, Vec::new()),
    };
    let legal = |name: &str| {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.chars().all(word)
    };
    assert!(legal(name) && labels.iter().all(|(label, _)| legal(label)), "names: {line}");
    let unique: BTreeSet<&str> = labels.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(unique.len(), labels.len(), "a label stands once: {line}");
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect("a number") };
    Sample { name: name.to_owned(), labels, value }
}

/// `name="value",…`, where a value may hold `\\`, `\"` and `\n`.
fn pairs(mut text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label's value in quotes");
        let mut value = String::new();
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next().expect("a closing quote") {
                (end, '"') => break end,
                (_, '\\') => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                    other => panic!("no such escape: {other:?} in {text}"),
                },
                (_, plain) => value.push(plain),
            }
        };
        pairs.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    pairs
}

fn check(name: &str, family: &Family) {
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        assert!(
            seen.insert(format!("{} {:?}", sample.name, sample.labels)),
            "a series stands once: {sample:?}"
        );
        let suffix = sample.name.strip_prefix(name).expect("its family's name");
        let legal = match family.kind.as_str() {
            "gauge" => suffix.is_empty(),
            "counter" => suffix == "_total" && sample.value >= 0.0,
            "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
            other => panic!("no such type: {other}"),
        };
        assert!(legal && sample.value.is_finite(), "{sample:?} of a {}", family.kind);
    }
    if family.kind == "histogram" {
        check_histogram(name, &family.samples);
    }
}

/// Bounds and counts grow, and the last bucket, `+Inf`, holds all.
fn check_histogram(name: &str, samples: &[Sample]) {
    let of = |suffix: &str, series: &[(String, String)]| -> Vec<Sample> {
        let name = format!("{name}{suffix}");
        samples.iter().filter(|sample| sample.name == name && sample.series() == series).cloned().collect()
    };
    for series in samples.iter().map(Sample::series).collect::<BTreeSet<_>>() {
        let bound = |sample: &Sample| match sample.label("le").expect("a bound") {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a number"),
        };
        let buckets = of("_bucket", &series);
        assert!(buckets.is_sorted_by(|one, next| bound(one) < bound(next)), "{buckets:?}");
        assert!(buckets.is_sorted_by(|one, next| one.value <= next.value), "{buckets:?}");
        let (counts, sums) = (of("_count", &series), of("_sum", &series));
        assert_eq!((counts.len(), sums.len()), (1, 1), "{series:?}");
        let last = buckets.last().expect("buckets");
        assert_eq!((bound(last), last.value), (f64::INFINITY, counts[0].value), "{series:?}");
    }
}

#[test]
fn the_reader_forgives_nothing() {
    let good = "# HELP a b c\n# TYPE a counter\na_total{x=\"1, \\\"2\\\"\"} 3\n# EOF\n";
    assert_eq!(read(good)["a"].samples[0].label("x"), Some("1, \"2\""));
    for bad in [
        good.replace("# EOF\n", ""),
        good.replace("_total", ""),
        good.replace("} 3", "} x"),
        good.replace("} 3", ""),
        good.replace("# TYPE a counter\n", ""),
        good.replace("a_total", "b_total"),
        good.replace("# EOF", "a_total{x=\"1, \\\"2\\\"\"} 4\n# EOF"),
        good.replace("counter", "histogram"),
        "# HELP h d\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n# EOF\n".to_owned(),
        "# HELP h d\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 2\nh_sum 1\n# EOF\n".to_owned(),
    ] {
        assert!(std::panic::catch_unwind(|| read(&bad)).is_err(), "{bad}");
    }
}
