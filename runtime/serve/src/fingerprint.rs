//! `system_fingerprint`: by what an answer's bits are decided, beside the request.

use sha2::{Digest, Sha256};
use smidgen::{KvType, LAW};
use smidgen_host::digest_of;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// The pause after each MiB while answers are written, which the digest is not to slow down.
const PAUSE: Duration = Duration::from_millis(5);

/// What a model is doing while its digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Now {
    Idle,
    Busy,
    /// It is no more.
    Over,
}

/// The fingerprint of a model's file, once its digest is known: at once if it was made before or the file is small, otherwise after a thread has read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprint(Arc<OnceLock<String>>);

impl Fingerprint {
    /// That of a file, with caches of this type. `now` is asked before each MiB that is read.
    pub(crate) fn of(path: PathBuf, kv: KvType, mut now: impl FnMut() -> Now + Send + 'static) -> Fingerprint {
        let fingerprint = Fingerprint::default();
        let told = fingerprint.clone();
        let make = move |go_on: &mut dyn FnMut() -> bool| {
            // What cannot be read the engine tells.
            let digest = digest_of(&path, go_on).ok().flatten();
            digest.is_some_and(|digest| told.0.set(text(&digest, kv)).is_ok())
        };
        // The first MiB costs next to nothing.
        let mut pieces = 0..2;
        if !make(&mut || pieces.next().is_some()) {
            let slowly = move || {
                let mut go_on = || match now() {
                    Now::Over => false,
                    Now::Busy => {
                        thread::sleep(PAUSE);
                        true
                    }
                    Now::Idle => true,
                };
                make(&mut go_on);
            };
            // Without a thread there is no fingerprint.
            drop(thread::Builder::new().name("smidgen-digest".into()).spawn(slowly));
        }
        fingerprint
    }

    /// The fingerprint, if it is known yet.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// A digest of the model's, of the law of bits and of the caches' type.
fn text(model: &[u8; 32], kv: KvType) -> String {
    let law = format!("law {LAW} {kv:?}");
    let digest = Sha256::new().chain_update(model).chain_update(law).finalize();
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("fp_{digits}")
}
