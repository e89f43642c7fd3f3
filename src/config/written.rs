//! The configuration as written: every value read into its type, none yet held against another.

use std::collections::BTreeMap;

use super::error::{Code, Place, Problem, Report, did_you_mean};
use super::keys::{
    Admin, Carriage, Grant, Group, Guard, Hooks, Key, Limits, ListenTls, Log, Probes, Root, Route, Store,
    Tls, join, keys,
};
use super::value::{Form, FromText as _, Item, Name};
use crate::token::GrantName;

/// What file, environment and flags said.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) root: Root,
    pub(super) carriage: Carriage,
    pub(super) routes: Vec<WrittenRoute>,
    pub(super) grants: BTreeMap<GrantName, WrittenGrant>,
    pub(super) store: Store,
    pub(super) admin: Admin,
    pub(super) probes: Probes,
    pub(super) guard: Guard,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
    pub(super) hooks: Hooks,
    pub(super) log: Log,
    pub(super) listen_tls: ListenTls,
    /// The same once more, word for word and in the order of the file: for showing it.
    pub(super) said: Vec<Said>,
}

/// One value, and the heading that it stands below.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    /// As in `oauth` or `grant.crm`; routes are told apart by `place`.
    pub(super) section: String,
    /// Which `[[route]]`.
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) item: Item,
}

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub(super) struct WrittenRoute {
    /// Its heading.
    pub(super) place: Place,
    pub(super) route: Route,
    pub(super) carriage: Carriage,
}

/// One `[grant.NAME]`, or `[oauth]`.
#[derive(Clone, Debug)]
pub(super) struct WrittenGrant {
    /// Its heading.
    pub(super) place: Place,
    /// `oauth` or `grant.NAME`.
    pub(super) section: String,
    pub(super) grant: Grant,
}

impl Written {
    /// Reads a whole document. `entries` is its top level.
    pub(super) fn read(entries: &[(Name, Item)], report: &mut Report) -> Self {
        let mut written = Self::default();
        for (name, item) in entries {
            match name.text.as_str() {
                "oauth" => written.read_grant(GrantName::new(GrantName::DEFAULT), name, item, report),
                "grant" => written.read_grants(item, report),
                "route" => written.read_routes(item, report),
                section if written.section(section).is_some() => written.read_section(name, item, report),
                _ => {
                    written.say("", 0, name, item);
                    take(&mut [&mut written.root, &mut written.carriage], "", name, item, report);
                }
            }
        }
        written
    }

    /// Overlays one value of a fixed section, as the environment and flags do.
    pub(super) fn overlay(&mut self, key: &Key, item: &Item, report: &mut Report) {
        let name = Name { text: key.name.to_owned(), place: item.place.clone() };
        match key.section {
            "" => {
                self.say("", 0, &name, item);
                take(&mut [&mut self.root, &mut self.carriage], "", &name, item, report);
            }
            "oauth" => {
                if let Some(written) = self.default_grant(item, report) {
                    take(&mut [&mut written.grant], "oauth", &name, item, report);
                    let section = written.section.clone();
                    self.say(&section, 0, &name, item);
                }
            }
            section => {
                self.say(section, 0, &name, item);
                if let Some(group) = self.section(section) {
                    take(&mut [group], section, &name, item, report);
                }
            }
        }
    }

    /// Notes what was written, in the place of what was said before.
    fn say(&mut self, section: &str, place: usize, name: &Name, item: &Item) {
        let (section, name) = (section.to_owned(), name.text.clone());
        self.said.retain(|said| (&said.section, said.place, &said.name) != (&section, place, &name));
        self.said.push(Said { section, place, name, item: item.clone() });
    }

    fn section(&mut self, name: &str) -> Option<&mut dyn Group> {
        Some(match name {
            "store" => &mut self.store,
            "admin" => &mut self.admin,
            "probes" => &mut self.probes,
            "guard" => &mut self.guard,
            "tls" => &mut self.tls,
            "limits" => &mut self.limits,
            "hooks" => &mut self.hooks,
            "log" => &mut self.log,
            "listen_tls" => &mut self.listen_tls,
            _ => return None,
        })
    }

    fn read_section(&mut self, name: &Name, item: &Item, report: &mut Report) {
        let Some(group) = self.section(&name.text) else { return };
        if group.keys().iter().all(|key| key.later) {
            return report.error(not_yet(&name.text, name));
        }
        for (key, value) in table(item, report) {
            take(&mut [&mut *group], &name.text, key, value, report);
        }
        let Form::Table(entries) = &item.form else { return };
        entries.iter().for_each(|(key, value)| self.say(&name.text, 0, key, value));
    }

    fn read_grants(&mut self, item: &Item, report: &mut Report) {
        for (name, grant) in table(item, report) {
            if !matches!(grant.form, Form::Table(_)) {
                let problem = Problem::new(Code::WrongType, &name.place, "a grant needs a name of its own");
                report.error(problem.help(format!("write [oauth] or [grant.NAME] above `{}`", name.text)));
                continue;
            }
            match GrantName::from_text(&name.text) {
                Ok(grant_name) => self.read_grant(grant_name, name, grant, report),
                Err(fault) => {
                    let title = format!("`{}` {}", name.text.escape_debug(), fault.why);
                    let problem = Problem::new(fault.code, &name.place, title);
                    report.error(Problem { help: fault.help, ..problem });
                }
            }
        }
    }

    fn read_grant(&mut self, grant_name: GrantName, name: &Name, item: &Item, report: &mut Report) {
        if self.grants.contains_key(&grant_name) {
            let problem =
                Problem::new(Code::MixedShapes, &name.place, "the grant `default` is written twice");
            return report.error(problem.help("[oauth] is short for [grant.default]; keep one of them"));
        }
        let mut grant = Grant::default();
        for (key, value) in table(item, report) {
            take(&mut [&mut grant], &item.key, key, value, report);
            self.say(&item.key, 0, key, value);
        }
        let written = WrittenGrant { place: name.place.clone(), section: item.key.clone(), grant };
        self.grants.insert(grant_name, written);
    }

    fn read_routes(&mut self, item: &Item, report: &mut Report) {
        let Form::List(routes) = &item.form else {
            self.root.faulty.push("route");
            let problem = item.wrong_type("a list of tables");
            return report.error(problem.help("write [[route]], with two brackets, above each route"));
        };
        for (place, item) in routes.iter().enumerate() {
            let (mut route, mut carriage) = (Route::default(), Carriage::default());
            for (key, value) in table(item, report) {
                take(&mut [&mut route, &mut carriage], "route", key, value, report);
                self.say("route", place, key, value);
            }
            self.routes.push(WrittenRoute { place: item.place.clone(), route, carriage });
        }
    }

    /// The grant that `[oauth]` is short for; made for the environment's sake where the file has no grant at all.
    fn default_grant(&mut self, item: &Item, report: &mut Report) -> Option<&mut WrittenGrant> {
        let name = GrantName::new(GrantName::DEFAULT);
        let named = self.grants.keys().next().filter(|_| !self.grants.contains_key(&name));
        if let Some(named) = named {
            let title = format!("`{}` is for the grant `default`, which the file does not have", item.key);
            let problem = Problem::new(Code::MixedShapes, &item.place, title);
            report.error(problem.help(format!("write it below [grant.{named}] in the file")));
            return None;
        }
        let place = item.place.clone();
        let made = || WrittenGrant { place, section: "oauth".to_owned(), grant: Grant::default() };
        Some(self.grants.entry(name).or_insert_with(made))
    }
}

fn table<'a>(item: &'a Item, report: &mut Report) -> &'a [(Name, Item)] {
    if let Form::Table(entries) = &item.form {
        return entries;
    }
    let section = if item.key == "grant" { "grant.NAME" } else { &item.key };
    report.error(item.wrong_type("a table").help(format!("write [{section}] on a line of its own")));
    &[]
}

/// Gives a value to the group that knows its key, or says why none does.
fn take(groups: &mut [&mut dyn Group], section: &str, name: &Name, item: &Item, report: &mut Report) {
    if groups.iter_mut().any(|group| group.set(&name.text, item, report)) {
        return;
    }
    let path = join(section, &name.text);
    let known: Vec<&Key> = groups.iter().flat_map(|group| group.keys()).collect();
    if known.iter().any(|key| key.name == name.text) {
        return report.error(not_yet(&path, name));
    }
    let here = known.iter().filter(|key| !key.later).map(|key| key.name).chain(sections(section));
    let near = did_you_mean(&name.text, here);
    if let (Some(near), Some(group)) = (near, groups.first_mut()) {
        // What was misspelt is not missing as well.
        group.faulty().push(near);
    }
    let problem =
        Problem::new(Code::UnknownKey, &name.place, format!("unknown key `{}`", path.escape_debug()))
            .label("not a known key");
    let help = match near {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => belongs(&name.text).map(|place| format!("`{}` belongs {place}", name.text)),
    };
    report.error(Problem { help, ..problem });
}

fn not_yet(path: &str, name: &Name) -> Problem {
    Problem::new(Code::NotYet, &name.place, format!("`{path}` comes with a later version"))
        .label("not yet")
        .help("remove it for now")
}

/// The sections that may be meant at the top level.
fn sections(section: &str) -> impl Iterator<Item = &'static str> {
    let names = keys().map(|key| key.section).filter(|name| !name.is_empty() && *name != "listen_tls");
    names.chain(["grant"]).filter(move |_| section.is_empty())
}

/// Where a key that is unknown here is known.
fn belongs(name: &str) -> Option<String> {
    let key = keys().find(|key| key.name == name && !key.later)?;
    Some(match key.section {
        "" => "at the top, above the first section".to_owned(),
        "route" => "below [[route]]".to_owned(),
        section => format!("below [{section}]"),
    })
}
