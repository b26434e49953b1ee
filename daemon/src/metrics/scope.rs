//! A recorder of its own, whose series vanish with it.

use std::sync::{Arc, Weak};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use super::families::{FAMILIES, Family, Kind};

/// The series of one thing that may vanish. Clones are handles of the same; when the last is dropped, the series are gone
/// from the next scrape, and what is still counted through their handles is lost.
#[derive(Clone, Debug)]
pub struct Scope {
    recorder: Arc<PrometheusRecorder>,
}

impl Scope {
    pub(super) fn new() -> Self {
        let buckets = |builder: PrometheusBuilder, family: &Family| match family.kind {
            Kind::Histogram(bounds) => builder
                .set_buckets_for_metric(Matcher::Full(family.name.to_string()), bounds)
                .unwrap_or_else(|error| panic!("the buckets of {}: {error}", family.name)),
            Kind::Counter | Kind::Gauge => builder,
        };
        let builder = FAMILIES.iter().fold(PrometheusBuilder::new(), buckets);
        Self { recorder: Arc::new(builder.build_recorder()) }
    }

    /// The counter of this name with these labels; each call with the same gives the same.
    ///
    /// # Panics
    /// The table of families has no such counter.
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, String)]) -> Counter {
        let family = declared(name, labels);
        assert!(family.kind == Kind::Counter, "{name} is no counter");
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// The gauge of this name with these labels; each call with the same gives the same.
    ///
    /// # Panics
    /// The table of families has no such gauge.
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, String)]) -> Gauge {
        let family = declared(name, labels);
        assert!(family.kind == Kind::Gauge, "{name} is no gauge");
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// The histogram of this name with these labels; each call with the same gives the same. Its buckets are those of the
    /// table of families.
    ///
    /// # Panics
    /// The table of families has no such histogram.
    pub fn histogram(&self, name: &'static str, labels: &[(&'static str, String)]) -> Histogram {
        let family = declared(name, labels);
        assert!(matches!(family.kind, Kind::Histogram(_)), "{name} is no histogram");
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }

    pub(super) fn downgrade(&self) -> Weak<PrometheusRecorder> {
        Arc::downgrade(&self.recorder)
    }
}

/// What the exporter is told of whoever asks for a handle; it does not look.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn declared(name: &str, labels: &[(&'static str, String)]) -> &'static Family {
    let Some(family) = Family::named(name) else { panic!("no family is called {name}") };
    let given: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
    assert!(given == family.labels, "{name} has the labels {:?}, not {given:?}", family.labels);
    family
}

fn key(name: &'static str, labels: &[(&'static str, String)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(label, value)| Label::new(*label, value.clone())).collect();
    Key::from_parts(name, labels)
}
