/** Ctrl-C for commands that run in the main thread: the first one stops the work, the second ends the process. */

/** Runs a job with a signal that SIGINT and SIGTERM abort. */
export async function interruptible<Result>(job: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const stopped = new AbortController()
  const interrupt = () => {
    if (stopped.signal.aborted) process.exit(130)
    stopped.abort()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  try {
    return await job(stopped.signal)
  } finally {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
}
