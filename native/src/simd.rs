//! The instruction set is picked at run time. A kernel body is one `#[inline(always)]` function; `simd!` compiles
//! it three times, and LLVM vectorises each for its set. Parallel loops stand outside of it: what a thread pool
//! calls does not inherit the features.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Level {
    Portable = 1,
    Avx2 = 2,
    Avx512 = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

pub fn name(level: Level) -> &'static str {
    match level {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    }
}

/// The best set of this machine, or what `PARE_SIMD` (portable, avx2, avx512) lowers it to.
fn detect() -> Level {
    #[cfg(target_arch = "x86_64")]
    let best = {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if avx2 && avx512 {
            Level::Avx512
        } else if avx2 {
            Level::Avx2
        } else {
            Level::Portable
        }
    };
    #[cfg(not(target_arch = "x86_64"))]
    let best = Level::Portable;
    let asked = match std::env::var("PARE_SIMD").as_deref() {
        Ok("portable") => Level::Portable,
        Ok("avx2") => Level::Avx2,
        _ => Level::Avx512,
    };
    if asked < best { asked } else { best }
}

pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Portable,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let level = detect();
            LEVEL.store(level as u8, Ordering::Relaxed);
            level
        }
    }
}

/// True where the product of bf16 pairs is an instruction.
pub fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[macro_export]
macro_rules! simd {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<$($generic:ident : $bound:path),+>)? ($($argument:ident : $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
                fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                    body $(::<$($generic),+>)? ($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $result)? {
                    body $(::<$($generic),+>)? ($($argument),*)
                }
                match $crate::simd::level() {
                    // SAFETY: the level says that this machine has the features.
                    $crate::simd::Level::Avx512 => return unsafe { avx512 $(::<$($generic),+>)? ($($argument),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2 $(::<$($generic),+>)? ($($argument),*) },
                    $crate::simd::Level::Portable => {}
                }
            }
            body $(::<$($generic),+>)? ($($argument),*)
        }
    };
}
