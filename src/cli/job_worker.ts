/** The thread that works: one job, its events, its result. */
import { parentPort, workerData } from 'node:worker_threads'
import { errorRecord } from '../tensor/error_record.ts'
import { setThreads } from '../tensor/index.ts'
import type { Job, JobMessage } from './job.ts'

/** What a job needs is loaded with it. */
const jobs = {
  compress: async () => (await import('../run/compress.ts')).compress,
  convert: async () => (await import('../run/convert/convert.ts')).convert,
  evaluate: async () => (await import('../run/evaluate_encoder.ts')).evaluateAny,
  imatrix: async () => (await import('../run/measure_importance.ts')).measureImportance,
  verify: async () => (await import('../run/verify/verify.ts')).verify,
  train: async () => (await import('../run/training/train.ts')).trainWith,
}
const { job, options, threads } = workerData as Job
const say = (message: JobMessage) => parentPort!.postMessage(message)
const stopped = new AbortController()
parentPort!.on('message', (message) => {
  if (message === 'abort') stopped.abort()
})

try {
  if (threads !== undefined) setThreads(threads)
  const hooks = {
    signal: stopped.signal,
    progress: (event: Extract<JobMessage, { kind: 'event' }>['event']) => say({ kind: 'event', event }),
  }
  const run = (await jobs[job]()) as (options: never, hooks: unknown) => Promise<unknown>
  say({ kind: 'done', result: await run(options as never, hooks) })
} catch (error) {
  say({ kind: 'failed', error: errorRecord(error) })
} finally {
  parentPort!.unref()
}
