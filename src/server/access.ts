/** Who may ask: names that the server is called by, and the key. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { OptionError, printable } from '../tensor/errors.ts'
import { ApiError } from './api_error.ts'

export interface HostOptions {
  /** The address that the server listens on. */
  host: string
  /** Further names, or `*` for any. */
  allowed: readonly string[]
}

const loopback = ['localhost', '127.0.0.1', '::1']
const isLoopback = (host: string) => host === 'localhost' || host === '::1' || host.startsWith('127.')
const isWildcard = (host: string) => host === '0.0.0.0' || host === '::'

/**
 * Checks the Host header against the names of the server. A page that a browser has loaded from elsewhere can have its own
 * name resolved to this address (DNS rebinding), but the header then holds that name. Addresses are no names, so that a
 * server which listens on all of them may be called by any.
 *
 * @throws OptionError here for an empty host or names that no header can hold; ApiError 403 from the check, for another name.
 * @example hostCheck({ host: '127.0.0.1', allowed: [] })('localhost:8080')
 */
export function hostCheck({ host, allowed }: HostOptions): (header: string | undefined) => void {
  // Node would take an empty one for all addresses of this machine.
  if (host === '')
    throw new OptionError(
      'host: is empty; name an address, such as 127.0.0.1, or 0.0.0.0 for all of this machine',
      {
        code: 'PARE_E_HOST',
        facts: { option: 'host' },
      },
    )
  const wrong = allowed.find((name) => name !== '*' && !/^(?:[^\s:/@?#[\]]+|\[[0-9a-f:.]+\])$/i.test(name))
  if (wrong !== undefined)
    throw new OptionError(
      `allowed host ${printable(JSON.stringify(wrong))}: needs a name without scheme, port and path, such as models.example, or *`,
      { code: 'PARE_E_HOST', facts: { option: 'allowedHosts' } },
    )
  const own = isLoopback(host) ? loopback : isWildcard(host) ? [...loopback, hostname()] : []
  const names = new Set([host, ...own, ...allowed].map(plainName))
  return (header) => {
    const name = plainName((header ?? '').replace(/:\d*$/, ''))
    if (names.has(name) || names.has('*') || (isWildcard(host) && isIP(name) !== 0)) return
    throw new ApiError(
      `host ${printable(header ?? '') || 'without a name'}: is no name of this server; start it with --allowed-host ${printable(name) || 'NAME'} to be called so`,
      { status: 403, code: 'host_not_allowed' },
    )
  }
}

const plainName = (name: string): string =>
  name
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')

/**
 * Checks `Authorization: Bearer KEY`. The time does not tell how much of a key was right.
 *
 * @throws OptionError here for a key that headers cannot carry; ApiError 401 from the check, for another key or none.
 */
export function keyCheck(key: string | undefined): (header: string | undefined) => void {
  if (key === undefined) return () => {}
  if (!/^[!-~](?:[ -~]*[!-~])?$/.test(key))
    throw new OptionError(
      'apiKey: needs ASCII letters, digits and marks, with blanks only between them, since clients send others in different ways; choose another key',
      { code: 'PARE_E_API_KEY', facts: { option: 'apiKey' } },
    )
  const wanted = digest(key)
  return (header) => {
    const [, given] = /^Bearer +(.+?) *$/i.exec(header ?? '') ?? []
    if (given !== undefined && timingSafeEqual(digest(given), wanted)) return
    throw new ApiError(
      given === undefined
        ? 'authorization: a key is needed; send it as Authorization: Bearer KEY'
        : 'authorization: the key is not that of this server; ask who started it',
      { status: 401, code: 'invalid_api_key' },
    )
  }
}

/** Of one length, which `timingSafeEqual` needs. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
