//! Locks of the operating system on files. The system lets go of them when the process ends, however it ends.

use crate::fault::{Fault, border, js};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::sync::{Mutex, PoisonError};

static HELD: Mutex<Option<(u32, HashMap<u32, File>)>> = Mutex::new(None);

fn refused(path: &str, error: &std::io::Error) -> Fault {
    let reason = error.kind();
    Fault {
        code: "PARE_E_CANNOT_LOCK",
        message: format!(
            "{path}: cannot be locked ({reason}); check that the folder is writable and on a file system with locks"
        ),
    }
}

/// Locks a file, which is made where it is missing. Nothing where somebody else holds the lock.
#[napi_derive::napi(js_name = "tryLockFile")]
pub fn try_lock_file(path: String) -> js::Result<Option<u32>> {
    border(|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| refused(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(refused(&path, &error)),
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, files) = held.get_or_insert_with(|| (0, HashMap::new()));
        *last += 1;
        files.insert(*last, file);
        Ok(Some(*last))
    })
}

/// Lets go of a lock; one that is gone already is none.
#[napi_derive::napi(js_name = "unlockFile")]
pub fn unlock_file(lock: u32) {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, files)) = held.as_mut() {
        files.remove(&lock);
    }
}
