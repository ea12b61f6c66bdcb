/** What the headers and bodies of the hub's answers say. */

/** The newest headers, but with the first linked hash and size: later hops of the same host may leave them out. */
export function withLinked(before: Headers, now: Headers): Headers {
  const headers = new Headers(now)
  for (const name of ['x-linked-etag', 'x-linked-size']) {
    const value = before.get(name)
    if (value !== null) headers.set(name, value)
  }
  return headers
}

export function declaredBytes(headers: Headers, redirected: boolean): number | undefined {
  const linked = headers.get('x-linked-size')
  const plain = redirected || headers.has('content-encoding') ? null : headers.get('content-length')
  const text = linked ?? plain
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** Where the bytes of an answer begin, and how large the file is; undefined where it does not say. */
export function answeredRange(
  status: number,
  headers: Headers,
): { first: number | undefined; size: number | undefined } {
  if (status === 200) return { first: 0, size: whole(headers.get('content-length')) }
  const [, first, size] =
    /^bytes (?:(\d{1,15})-\d{1,15}|\*)\/(\d{1,15})$/.exec(headers.get('content-range') ?? '') ?? []
  return { first: whole(first), size: whole(size) }
}

const whole = (text: string | null | undefined): number | undefined =>
  text != null && /^\d{1,15}$/.test(text) ? Number(text) : undefined

/** The first `wanted` bytes of a body, fewer where it has no more; the rest is not waited for. */
export async function takeBytes(body: AsyncIterable<Uint8Array>, wanted: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let done = 0
  if (wanted > 0)
    for await (const chunk of body) {
      const part = chunk.subarray(0, wanted - done)
      chunks.push(part)
      done += part.length
      if (done === wanted) break
    }
  // A Buffer may be a view of a larger one, which readers of a header do not expect.
  return new Uint8Array(Buffer.concat(chunks))
}
