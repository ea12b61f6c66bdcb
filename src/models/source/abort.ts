/** Turning an abort signal into the toolkit's own error at places where nothing is half written. */
import { AbortError } from '../../tensor/errors.ts'

/** @throws AbortError if the signal has fired. */
export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError(undefined, { cause: signal.reason })
}

/** Waits, but not past an abort. Milliseconds. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  stopIfAborted(signal)
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(new AbortError(undefined, { cause: signal?.reason }))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, milliseconds)
    signal?.addEventListener('abort', stop, { once: true })
  })
}
