//! What can go wrong in a kernel, and its way across the border.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A refusal with the stable code that src/tensor/native.ts turns into an error class.
#[derive(Debug)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub fn option(message: impl Into<String>) -> Fault {
        Fault {
            code: "PARE_E_OPTION",
            message: message.into(),
        }
    }
    pub fn shape(message: impl Into<String>) -> Fault {
        Fault {
            code: "PARE_E_SHAPE",
            message: message.into(),
        }
    }
    pub fn numerical(message: impl Into<String>) -> Fault {
        Fault {
            code: "PARE_E_NUMERICAL",
            message: message.into(),
        }
    }
    pub fn format(message: impl Into<String>) -> Fault {
        Fault {
            code: "PARE_E_FORMAT",
            message: message.into(),
        }
    }
    pub fn memory(bytes: usize) -> Fault {
        Fault {
            code: "PARE_E_RESOURCE",
            message: format!("memory: {bytes} bytes could not be allocated; use a smaller batch or model"),
        }
    }
    pub fn memory_limit(bytes: usize, held: usize, limit: usize) -> Fault {
        Fault {
            code: "PARE_E_MEMORY",
            message: format!(
                "memory: {bytes} bytes more are needed, {held} of the {limit} bytes that tensors may take are taken; give a higher --max-memory"
            ),
        }
    }
    pub fn aborted() -> Fault {
        Fault {
            code: "PARE_E_ABORTED",
            message: "the work was stopped before it ended".into(),
        }
    }
}

/// Results as JavaScript sees them: an error carries its code. (napi-derive looks for the name `Result`.)
pub mod js {
    pub type Result<T> = std::result::Result<T, napi::Error<&'static str>>;
}

/// Runs one exported function: faults and panics become JavaScript errors with a code.
pub fn border<T>(body: impl FnOnce() -> Result<T>) -> js::Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault)) => Err(napi::Error::new(fault.code, fault.message)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(napi::Error::new(
                "PARE_E_INTERNAL",
                format!("native core: a kernel failed ({text}); this is a defect of Pare"),
            ))
        }
    }
}
