//! A person's browser, as far as a sign-in needs one: from the URL that was printed to the loopback redirect.
//!
//! The steps, each of which a test may take, leave out or spoil:
//!
//! 1. [`printed_url`] waits until a program has printed where to sign in.
//! 2. [`open`] goes there and follows redirects within that server. It ends on a [`Page`], where [`Page::press`] goes on,
//!    or before a redirect that leaves the server: a [`Callback`], which nobody has been sent to yet.
//! 3. The callback is spoiled with [`Callback::with`] and [`Callback::without`]: another `state`, another `iss`, no code.
//! 4. [`Callback::get`] goes there, once or often; [`Callback::post`], [`Callback::get_as`] and [`Callback::get_path`] do
//!    what no redirect of this server does: another method, another Host, another page such as `/favicon.ico`.

use std::net::SocketAddr;

use super::authorization_server::{AuthorizationServer, Press};
use super::http::{form, form_decode};
use super::in_time_or;
use super::process::Process;
use super::raw::{Peer, Reply, post};

/// More redirects than any server here needs.
const LONGEST_WAY: usize = 10;

/// Where the browser has come to.
#[derive(Clone, Debug)]
pub(crate) enum Arrival {
    /// A page of the server's.
    Page(Page),
    /// The server sends it to the client.
    Callback(Callback),
}

/// A page that the browser shows.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    url: Url,
    reply: Reply,
}

/// Where the client waits for the answer, and the answer.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    url: Url,
    /// Names and values, in order.
    pub(crate) parameters: Vec<(String, String)>,
}

/// `http://authority/path?query`, in parts.
#[derive(Clone, Debug)]
struct Url {
    authority: String,
    path: String,
    query: String,
}

/// Waits until the program has printed a URL of this server's authorization endpoint, on either stream.
///
/// # Panics
/// When it does not in time.
pub(crate) async fn printed_url(program: &Process, server: &AuthorizationServer) -> String {
    let start = format!("{}?", server.authorization_endpoint());
    printed(program, &start).await
}

/// Waits until the program has printed a URL that starts like this, on either stream.
///
/// # Panics
/// When it does not in time.
pub(crate) async fn printed(program: &Process, start: &str) -> String {
    let said = || program.log().join("\n") + "\n" + &program.output();
    let seen = async {
        loop {
            let text = said();
            // Up to a space: a URL that is still being written has none behind it.
            let found = text.find(start).and_then(|at| text[at..].split_once(char::is_whitespace));
            if let Some((url, _)) = found {
                return url.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    in_time_or(|| format!("{start}… in what was printed:\n{}", said()), seen).await
}

/// Opens a URL and follows its redirects, as long as they stay at that server.
pub(crate) async fn open(url: &str) -> Arrival {
    go_on(Url::of(url), None).await
}

async fn go_on(mut url: Url, mut form: Option<String>) -> Arrival {
    for _ in 0..LONGEST_WAY {
        let mut peer = Peer::connect(url.address()).await;
        let reply = match form.take() {
            Some(form) => peer.post(&url.target(), &url.authority, &form).await,
            None => peer.get(&url.target(), &url.authority).await,
        };
        let Some(location) = reply.head.header("location").filter(|_| (300..400).contains(&reply.status()))
        else {
            return Arrival::Page(Page { url, reply });
        };
        let next = url.joined(location);
        if next.authority != url.authority {
            let parameters = self::form(&next.query);
            return Arrival::Callback(Callback { url: next, parameters });
        }
        url = next;
    }
    panic!("more than {LONGEST_WAY} redirects, the last to {url:?}");
}

impl Arrival {
    /// The page.
    ///
    /// # Panics
    /// When it is a callback.
    pub(crate) fn page(self) -> Page {
        match self {
            Self::Page(page) => page,
            Self::Callback(callback) => panic!("no page, but sent to {callback:?}"),
        }
    }

    /// The callback.
    ///
    /// # Panics
    /// When it is a page.
    pub(crate) fn callback(self) -> Callback {
        match self {
            Self::Callback(callback) => callback,
            Self::Page(page) => panic!("not sent back, but {} {}", page.status(), page.text()),
        }
    }
}

impl Page {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.reply.status()
    }

    /// Its source.
    pub(crate) fn text(&self) -> String {
        self.reply.text()
    }

    /// Presses a button of its form.
    ///
    /// # Panics
    /// When it has no form with this button.
    pub(crate) async fn press(&self, button: Press) -> Arrival {
        let (text, value) = (self.text(), button.value());
        assert!(text.contains(&format!("value=\"{value}\">")), "no button {value} on {text}");
        let attribute = |tag: &str, name: &str| {
            tag.split_once(&format!("{name}=\""))
                .and_then(|(_, rest)| rest.split('"').next())
                .map(str::to_owned)
        };
        let hidden = text.split("<input type=\"hidden\"").skip(1).filter_map(|tag| {
            Some(format!("{}={}&", attribute(tag, "name")?, escaped(&attribute(tag, "value")?)))
        });
        let form: String = hidden.chain([format!("press={value}")]).collect();
        let action = text.split("<form").nth(1).and_then(|tag| attribute(tag, "action")).unwrap();
        go_on(self.url.joined(&action), Some(form)).await
    }
}

impl Callback {
    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The redirect URI, without what it was sent with.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("http://{}{}", self.url.authority, self.url.path)
    }

    /// Who waits there.
    pub(crate) fn address(&self) -> SocketAddr {
        self.url.address()
    }

    /// The same with another value of this parameter.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.without(name);
        other.parameters.push((name.to_owned(), value.to_owned()));
        other
    }

    /// The same without this parameter.
    pub(crate) fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.parameters.retain(|(given, _)| given != name);
        other
    }

    /// Goes there, as the redirect says, and on to where it is sent from there within that place: what is seen in the end.
    pub(crate) async fn get(&self) -> Reply {
        let reply = self.get_as(&self.url.authority).await;
        match reply.head.header("location").filter(|place| place.starts_with('/')) {
            Some(place) => self.get_path(place).await,
            None => reply,
        }
    }

    /// Goes there by another name: what a page of another site does that has its name point here.
    pub(crate) async fn get_as(&self, host: &str) -> Reply {
        let target = format!("{}?{}", self.url.path, self.query());
        Peer::connect(self.address()).await.get(&target, host).await
    }

    /// Sends the answer in a form instead.
    pub(crate) async fn post(&self) -> Reply {
        let request = post(&self.url.path, &self.url.authority, &self.query());
        Peer::connect(self.address()).await.ask(request).await
    }

    /// Asks there for something else, such as `/favicon.ico`.
    pub(crate) async fn get_path(&self, path: &str) -> Reply {
        Peer::connect(self.address()).await.get(path, &self.url.authority).await
    }

    fn query(&self) -> String {
        let pair = |(name, value): &(String, String)| format!("{}={}", escaped(name), escaped(value));
        self.parameters.iter().map(pair).collect::<Vec<_>>().join("&")
    }
}

impl Url {
    fn of(text: &str) -> Self {
        let rest = text.strip_prefix("http://").unwrap_or_else(|| panic!("{text} is not of http://"));
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Self { authority: authority.to_owned(), path: path.to_owned(), query: query.to_owned() }
    }

    fn joined(&self, location: &str) -> Self {
        if location.starts_with('/') {
            Self::of(&format!("http://{}{location}", self.authority))
        } else {
            Self::of(location)
        }
    }

    fn address(&self) -> SocketAddr {
        let literal = self.authority.replace("localhost", "127.0.0.1");
        literal.parse().unwrap_or_else(|error| panic!("{}: {error}", self.authority))
    }

    fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

/// A parameter of a URL, decoded; the first, where it comes twice.
pub(crate) fn asked(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(given, _)| *given == name).map(|(_, value)| form_decode(value))
}

/// A text as it stands in a query.
pub(crate) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
