//! Temporary files and folders, and the programs that write into them: a list, so that a signal that ends the process can have them removed.

use std::fs;
use std::path::{Path, PathBuf};
#[cfg(feature = "pull")]
use std::process::{Child, Command};
#[cfg(feature = "pull")]
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a folder is removed again into which something was written meanwhile, and the pause before each time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

static LIST: Mutex<List> = Mutex::new(List { ending: false, items: Vec::new() });

struct List {
    /// Whether the process is about to end.
    ending: bool,
    items: Vec<Item>,
}

#[derive(Clone)]
enum Item {
    Path(PathBuf),
    #[cfg(feature = "pull")]
    Program(Arc<Mutex<Child>>),
}

impl Item {
    fn is(&self, other: &Item) -> bool {
        match (self, other) {
            (Item::Path(own), Item::Path(other)) => own == other,
            #[cfg(feature = "pull")]
            (Item::Program(own), Item::Program(other)) => Arc::ptr_eq(own, other),
            #[cfg(feature = "pull")]
            _ => false,
        }
    }
}

/// Removes the files and folders that this process has not finished, and ends the package manager that it runs. For programs that a signal
/// ends: to be called on a thread of its own, not in the signal's handler, right before the process ends. Whoever would finish a file after
/// it waits for that end.
///
/// The library catches no signals. What a process leaves that had no time for this is removed by the next that writes the same output, or
/// pulls a model.
pub fn remove_temporaries() {
    let mut list = locked();
    list.ending = true;
    for item in std::mem::take(&mut list.items).into_iter().rev() {
        match item {
            #[cfg(feature = "pull")]
            Item::Program(program) => end(&program),
            Item::Path(path) => remove(&path),
        }
    }
}

/// The list. Waits forever when the process is about to end.
fn list() -> MutexGuard<'static, List> {
    let list = locked();
    if list.ending {
        drop(list);
        loop {
            std::thread::park();
        }
    }
    list
}

fn locked() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(path: &Path) {
    for _ in 0..ATTEMPTS {
        let removed = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(_) => return,
        };
        if removed.is_ok() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(feature = "pull")]
fn end(program: &Mutex<Child>) {
    let mut program = program.lock().unwrap_or_else(PoisonError::into_inner);
    // Both fail when it has ended already.
    let _ = program.kill();
    let _ = program.wait();
}

/// A file or folder that goes when its owner does.
pub(crate) struct Temporary {
    pub(crate) path: PathBuf,
}

impl Temporary {
    /// Makes the file or folder by `make`, with its path on the list before a signal can come between.
    pub(crate) fn make<T, E>(path: PathBuf, make: impl FnOnce(&Path) -> Result<T, E>) -> Result<(Temporary, T), E> {
        let mut list = list();
        let made = make(&path)?;
        list.items.push(Item::Path(path.clone()));
        Ok((Temporary { path }, made))
    }

    /// Gives a file in this folder its final name.
    #[cfg(feature = "pull")]
    pub(crate) fn rename_inside(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        let _list = list();
        fs::rename(from, to)
    }

    /// Gives the file its final name.
    pub(crate) fn rename(self, to: &Path) -> std::io::Result<()> {
        let mut list = list();
        fs::rename(&self.path, to)?;
        list.items.retain(|item| !item.is(&Item::Path(self.path.clone())));
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut list = list();
        let own = Item::Path(self.path.clone());
        if list.items.iter().any(|item| item.is(&own)) {
            remove(&self.path);
            list.items.retain(|item| !item.is(&own));
        }
    }
}

#[cfg(feature = "pull")]
/// A program that ends when its owner does.
pub(crate) struct Running(Arc<Mutex<Child>>);

#[cfg(feature = "pull")]
impl Running {
    /// Starts the program, with it on the list before a signal can come between.
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Running> {
        let mut list = list();
        let program = Arc::new(Mutex::new(command.spawn()?));
        list.items.push(Item::Program(program.clone()));
        Ok(Running(program))
    }

    /// The program.
    pub(crate) fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "pull")]
impl Drop for Running {
    fn drop(&mut self) {
        let mut list = list();
        end(&self.0);
        list.items.retain(|item| !item.is(&Item::Program(self.0.clone())));
    }
}

/// Whether a process with this id runs. Where that cannot be told, it does.
pub(crate) fn is_running(process: &str) -> bool {
    #[cfg(unix)]
    if let Ok(id) = process.parse::<i32>() {
        // SAFETY: without a signal, `kill` only looks whether it could send one.
        return id > 0
            && (unsafe { libc::kill(id, 0) } == 0
                || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH));
    }
    let _ = process;
    cfg!(not(unix))
}

/// Whether this process ignores a signal.
#[cfg(unix)]
pub fn ignores(signal: i32) -> bool {
    // SAFETY: an action of zeros is one, into which the present one is written; none is set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}
