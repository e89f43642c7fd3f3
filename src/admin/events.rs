//! /api/v1/events: what changes on the status page, as it changes (server-sent events).

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Overview;
use super::page::{self, View};
use super::server::Patience;
use crate::clock::Stopwatch;

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_millis(500);

/// After so much silence a comment tells the other side that somebody is here.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A body that goes on until its reader leaves.
#[derive(Debug)]
pub(super) struct Events(mpsc::Receiver<Bytes>);

impl Events {
    /// Begins to tell what changes; the first event tells all. To be called on the runtime of the listeners.
    pub(super) fn begin(
        overview: Arc<ArcSwap<Overview>>,
        patience: Patience,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (events, body) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = tell(&overview, &patience, &events) => {}
                // Whoever read is gone.
                () = events.closed() => {}
            }
            drop(place);
        });
        Self(body)
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

async fn tell(overview: &ArcSwap<Overview>, patience: &Patience, events: &mpsc::Sender<Bytes>) {
    let mut told = Told::default();
    let mut silence = Stopwatch::start();
    loop {
        let overview = overview.load_full();
        let news = told.news(&View::of(&overview).await);
        let event = match news {
            Some(news) => Some(format!("data: {news}\n\n")),
            None if silence.elapsed() >= HEARTBEAT => Some(":\n\n".to_owned()),
            None => None,
        };
        if let Some(event) = event {
            // Taken once the last one is on its way: who reads nothing is not waited for.
            if events.send(Bytes::from(event)).await.is_err() {
                return;
            }
            patience.goes_on();
            silence = Stopwatch::start();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a reader has been told.
#[derive(Default)]
struct Told {
    edition: String,
    parts: HashMap<String, String>,
}

impl Told {
    /// What has changed since, and which page it belongs to.
    fn news(&mut self, view: &View<'_>) -> Option<Value> {
        let (parts, edition) = (page::parts(view), page::edition(view.overview));
        let is_new = |(id, html): &(String, String)| self.parts.get(id) != Some(html);
        let news: Map<String, Value> = parts
            .iter()
            .filter(|part| is_new(part))
            .map(|(id, html)| (id.clone(), html.clone().into()))
            .collect();
        let is_the_same_page = self.edition == edition;
        *self = Self { edition: edition.clone(), parts: parts.into_iter().collect() };
        if news.is_empty() && is_the_same_page {
            return None;
        }
        Some(json!({ "edition": edition, "title": page::title(view), "parts": news }))
    }
}
