//! A disk that fails on cue: once, from then on for want of room, or together with the process or the whole machine.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What happens at the chosen step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::store) enum How {
    /// The step fails, once, with an I/O error.
    Fail,
    /// From this step on nothing that needs room succeeds.
    Full,
    /// The same where even writing in place needs room, until a file is removed.
    FullWithoutInPlace,
    /// The process is killed: a write is done by half, and nothing after it happens.
    Killed,
    /// The machine loses power: besides, what was not synced is lost.
    PowerCut {
        /// Whether renames that no folder sync followed are lost as well; a disk may do either.
        renames_undone: bool,
    },
}

pub(in crate::store) const EVERY_WAY: [How; 6] = [
    How::Fail,
    How::Full,
    How::FullWithoutInPlace,
    How::Killed,
    How::PowerCut { renames_undone: true },
    How::PowerCut { renames_undone: false },
];

/// Asked before each step on the disk.
#[derive(Clone, Default)]
pub(in crate::store) struct Faults(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    steps: Vec<&'static str>,
    at: Option<(usize, How)>,
    pause: Option<(&'static str, Sender<()>, Receiver<()>)>,
    full: bool,
    in_place_needs_room: bool,
    dead: bool,
    unsynced: Vec<Unsynced>,
    unsettled: Vec<Renamed>,
}

/// A file written to, and what of it a power cut leaves.
struct Unsynced {
    file: File,
    durable: Vec<u8>,
}

struct Renamed {
    from: PathBuf,
    to: PathBuf,
    replaced: Option<Vec<u8>>,
}

impl Faults {
    pub(in crate::store) fn at(step: usize, how: How) -> Self {
        Self(Arc::new(Mutex::new(Script { at: Some((step, how)), ..Script::default() })))
    }

    /// Stops before the next step called `name`: says so on one channel, and goes on when told on the other.
    pub(in crate::store::file) fn pausing_at(name: &'static str) -> (Self, Receiver<()>, Sender<()>) {
        let ((reached, on_reached), (go_on, on_go)) = (channel(), channel());
        let script = Script { pause: Some((name, reached, on_go)), ..Script::default() };
        (Self(Arc::new(Mutex::new(script))), on_reached, go_on)
    }

    /// The steps so far, by name.
    pub(in crate::store) fn steps(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().steps.clone()
    }

    /// A step that is none on the disk.
    pub(in crate::store) fn doing(&self, name: &'static str) -> io::Result<()> {
        self.0.lock().unwrap().step(name, false)
    }

    /// Power goes now.
    pub(in crate::store::file) fn cut_power(&self, renames_undone: bool) {
        self.0.lock().unwrap().cut_power(renames_undone);
    }

    pub(in crate::store::file) fn creating(&self) -> io::Result<()> {
        self.0.lock().unwrap().step("create", true)
    }

    pub(in crate::store::file) fn writing(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let end = file.stream_position()? + bytes.len() as u64;
        let grows = end > file.metadata()?.len();
        let mut script = self.0.lock().unwrap();
        if !script.unsynced.iter().any(|known| is_same(&known.file, file)) {
            let mut durable = vec![0; file.metadata()?.len() as usize];
            file.read_exact_at(&mut durable, 0)?;
            script.unsynced.push(Unsynced { file: file.try_clone()?, durable });
        }
        let needs_room = grows || script.in_place_needs_room;
        let stepped = script.step("write", needs_room);
        if stepped.is_err() && script.unsynced.is_empty() {
            return stepped; // the power cut has wiped the file already
        }
        if stepped.is_err() && script.dead {
            file.write_all(&bytes[..bytes.len() / 2])?;
        }
        stepped
    }

    pub(in crate::store::file) fn cutting(&self) -> io::Result<()> {
        self.0.lock().unwrap().step("cut", false)
    }

    pub(in crate::store::file) fn syncing(&self, file: &File) -> io::Result<()> {
        let mut script = self.0.lock().unwrap();
        script.step("sync", false)?;
        script.unsynced.retain(|known| !is_same(&known.file, file));
        Ok(())
    }

    pub(in crate::store::file) fn renaming(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut script = self.0.lock().unwrap();
        script.step("rename", false)?;
        let replaced = fs::read(to).ok();
        script.unsettled.push(Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    pub(in crate::store::file) fn syncing_folder(&self) -> io::Result<()> {
        let mut script = self.0.lock().unwrap();
        script.step("sync folder", false)?;
        script.unsettled.clear();
        Ok(())
    }

    pub(in crate::store::file) fn removing(&self, path: &Path) -> io::Result<()> {
        let mut script = self.0.lock().unwrap();
        script.step("remove", false)?;
        script.full &= !(script.in_place_needs_room && path.exists());
        Ok(())
    }
}

impl Script {
    fn step(&mut self, name: &'static str, needs_room: bool) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the process is gone"));
        }
        if let Some((_, reached, go_on)) = self.pause.take_if(|(at, ..)| *at == name) {
            reached.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.steps.push(name);
        let due = self.at.filter(|(step, _)| step + 1 == self.steps.len()).map(|(_, how)| how);
        match due {
            None => {}
            Some(How::Fail) => return Err(io::Error::other("the disk failed")),
            Some(How::Full) => self.full = true,
            Some(How::FullWithoutInPlace) => (self.full, self.in_place_needs_room) = (true, true),
            Some(How::Killed) => self.dead = true,
            Some(How::PowerCut { renames_undone }) => self.cut_power(renames_undone),
        }
        match () {
            () if self.dead => Err(io::Error::other("the process is gone")),
            () if self.full && needs_room => Err(io::ErrorKind::StorageFull.into()),
            () => Ok(()),
        }
    }

    fn cut_power(&mut self, renames_undone: bool) {
        self.dead = true;
        for Unsynced { file, durable } in self.unsynced.drain(..) {
            file.set_len(durable.len() as u64).unwrap();
            file.write_all_at(&durable, 0).unwrap();
        }
        for Renamed { from, to, replaced } in self.unsettled.drain(..).rev().filter(|_| renames_undone) {
            if fs::rename(&to, &from).is_err() {
                continue; // removed since
            }
            if let Some(bytes) = replaced {
                fs::write(&to, bytes).unwrap();
                fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    one.metadata().unwrap().ino() == other.metadata().unwrap().ino()
}
