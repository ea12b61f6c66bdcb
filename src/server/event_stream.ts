/** Objects as server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html, ended by `[DONE]`. */
import { apiErrorOf, errorBody } from './api_error.ts'

export interface EventStreamOptions {
  /** Milliseconds of silence after which a comment keeps proxies from closing the connection. @default 15000 */
  keepAlive?: number
  /** Milliseconds that a reader may take nothing before it counts as gone. @default 60000 */
  stalled?: number
  /** Milliseconds that the answer waits for its first object, so that an error has a status of its own. @default 1000 */
  headWait?: number
  /** The reader is gone: ends what makes the objects. */
  stop: () => void
  /** Closes the connection of a reader that takes nothing. @default the stream fails */
  giveUp?: (() => void) | undefined
  /** The answer is at its end, whatever the end was. */
  done: () => void
  /** An error that ended the stream after its beginning. */
  failed: (error: unknown) => void
}

const encoder = new TextEncoder()
const dataEvent = (data: string) => encoder.encode(`data: ${data}\n\n`)

/**
 * The answer that sends each object when the reader has taken the one before: what makes them is not asked for more than
 * fits the connection. An error after the beginning is an object as well, and the last one.
 *
 * @throws what `objects` throws before its first object.
 */
export async function eventStream(
  objects: AsyncIterator<object, void, void>,
  { keepAlive = 15_000, stalled = 60_000, headWait = 1000, stop, giveUp, done, failed }: EventStreamOptions,
): Promise<Response> {
  let next = objects.next()
  const head = wait(headWait)
  await Promise.race([next, head]).finally(head.cancel)
  let stall: NodeJS.Timeout | undefined
  const end = () => {
    clearTimeout(stall)
    done()
  }
  let left = false
  const leave = () => {
    if (left) return
    left = true
    stop()
    objects.return?.().catch(() => {})
    end()
  }
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stall)
        try {
          const silence = wait(keepAlive)
          const result = await Promise.race([next, silence]).finally(silence.cancel)
          if (result === undefined) controller.enqueue(encoder.encode(': keep-alive\n\n'))
          else if (result.done) {
            controller.enqueue(dataEvent('[DONE]'))
            controller.close()
            return end()
          } else {
            controller.enqueue(dataEvent(JSON.stringify(result.value)))
            next = objects.next()
            // It is looked at with the next pull.
            next.catch(() => {})
          }
        } catch (error) {
          failed(error)
          controller.enqueue(dataEvent(JSON.stringify(errorBody(apiErrorOf(error)))))
          controller.close()
          return end()
        }
        stall = setTimeout(() => {
          leave()
          if (giveUp) giveUp()
          else controller.error(new Error('the reader takes nothing'))
        }, stalled)
      },
      cancel: leave,
    },
    { highWaterMark: 1 },
  )
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Proxies such as nginx send it on as it comes.
      'x-accel-buffering': 'no',
    },
  })
}

/** Undefined after so many milliseconds. */
function wait(milliseconds: number): Promise<undefined> & { cancel: () => void } {
  let timer: NodeJS.Timeout | undefined
  const waiting = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), milliseconds)
  })
  return Object.assign(waiting, { cancel: () => clearTimeout(timer) })
}
