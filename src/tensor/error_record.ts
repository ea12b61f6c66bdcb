/** Errors as plain data, so that they can leave a thread and be thrown in another as the class that they were. */
import * as errors from './errors.ts'
import { PareError } from './errors.ts'

export interface ErrorRecord {
  class: string
  message: string
  code?: string
  facts?: errors.Facts
  stack?: string | undefined
}

/** @example port.postMessage(errorRecord(error)) */
export function errorRecord(error: unknown): ErrorRecord {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const known = error instanceof PareError
  return {
    class: known ? error.constructor.name : 'Error',
    message,
    ...(known ? { code: error.code, facts: error.facts } : { stack }),
  }
}

/** The error of the other thread as the class it was there. */
export function revivedError(record: ErrorRecord): Error {
  const known = (errors as unknown as Record<string, unknown>)[record.class]
  if (typeof known === 'function' && known.prototype instanceof PareError) {
    const Class = known as new (message: string, details: errors.ErrorDetails) => PareError
    return new Class(record.message, {
      ...(record.code ? { code: record.code } : {}),
      facts: record.facts ?? {},
    })
  }
  return Object.assign(new Error(record.message), record.stack ? { stack: record.stack } : {})
}
