/**
 * Runs a long job in a worker thread. The main thread keeps the terminal and the signals: the first Ctrl-C stops
 * the job where nothing is lost, the second ends the process.
 */
import { Worker } from 'node:worker_threads'
import type { ProgressEvent } from '../run/progress.ts'
import { binding } from '../tensor/binding.ts'
import { type ErrorRecord, revivedError } from '../tensor/error_record.ts'
import { AbortError, NativeError, OptionError, ResourceError } from '../tensor/errors.ts'
import { terminalProgress } from './terminal.ts'

export interface Job {
  job: 'compress' | 'convert' | 'evaluate' | 'imatrix' | 'train' | 'verify'
  options: object
  threads?: number | undefined
  quiet?: boolean | undefined
}

/** What the worker says. */
export type JobMessage =
  | { kind: 'event'; event: ProgressEvent }
  | { kind: 'done'; result: unknown }
  | { kind: 'failed'; error: ErrorRecord }

/** @throws what the job threw, as the same class; AbortError after a signal. */
export async function runJob<Result>({ job, options, threads, quiet }: Job): Promise<Result> {
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw new OptionError(`--threads: a whole number from 1 to 1024 is needed, got ${threads}`)
  }
  const native = binding()
  const { show, stop } = terminalProgress({ quiet: quiet ?? false })
  const worker = new Worker(new URL('./job_worker.js', import.meta.url), {
    workerData: { job, options, threads },
  })
  let signals = 0
  const interrupt = () => {
    signals += 1
    if (signals > 1) {
      // To exit, Node would wait for the worker, which may be inside a call that does not return.
      process.removeAllListeners('SIGINT')
      process.kill(process.pid, 'SIGINT')
    }
    process.stderr.write('\nstopping; once more to end at once\n')
    // A step of a training ends before it is saved.
    if (job !== 'train') native.setAborted(true)
    worker.postMessage('abort')
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  try {
    return await new Promise<Result>((resolve, reject) => {
      worker.on('message', (message: JobMessage) => {
        if (message.kind === 'event') show(message.event)
        else if (message.kind === 'done') resolve(message.result as Result)
        else reject(signals > 0 ? new AbortError() : revivedError(message.error))
      })
      worker.on('error', (error: NodeJS.ErrnoException) =>
        reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? outOfMemory() : error),
      )
      worker.on('exit', (code) =>
        reject(new NativeError(`the working thread ended early (${code}); this is a defect of Pare`)),
      )
    })
  } finally {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
    stop()
    await worker.terminate()
  }
}

const outOfMemory = () =>
  new ResourceError(
    'memory: the job needs more than Node may use; give it more with NODE_OPTIONS=--max-old-space-size=MEGABYTES',
    {
      code: 'PARE_E_MEMORY',
    },
  )
