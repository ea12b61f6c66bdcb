/** What the environment says about the hub, in the variables that Hugging Face's own programs read. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { OptionError, printable, SourceError } from '../../tensor/errors.ts'

export interface HubSettings {
  /** `HF_ENDPOINT`, without a slash at its end. */
  endpoint: URL
  /** `HF_HUB_CACHE`, else `$HF_HOME/hub`. */
  cacheFolder: string
  /** `HF_TOKEN`, else the content of `HF_TOKEN_PATH` or `$HF_HOME/token`. */
  token: string | undefined
  /** `HF_HUB_OFFLINE`. */
  offline: boolean
  /** `HF_HUB_DOWNLOAD_TIMEOUT`: milliseconds without a byte after which a request counts as cut. @default 30_000 */
  timeout: number
}

/** @throws OptionError for an endpoint or timeout that cannot be used; SourceError for a malformed token. */
export async function readHubSettings(environment: NodeJS.ProcessEnv): Promise<HubSettings> {
  const home = environment.HOME || environment.USERPROFILE || homedir()
  const folder = (path: string) => resolve(path.replace(/^~(?=$|[/\\])/, () => home))
  const hubHome = folder(
    environment.HF_HOME || join(environment.XDG_CACHE_HOME || join(home, '.cache'), 'huggingface'),
  )
  const seconds = Number(environment.HF_HUB_DOWNLOAD_TIMEOUT || 30)
  if (!(seconds > 0 && seconds <= 86_400)) {
    throw new OptionError(
      `HF_HUB_DOWNLOAD_TIMEOUT: seconds above 0 and up to 86400 are needed, got "${printable(environment.HF_HUB_DOWNLOAD_TIMEOUT!)}"; correct or unset it`,
      { code: 'PARE_E_HUB_SETTINGS' },
    )
  }
  return {
    endpoint: readEndpoint(environment.HF_ENDPOINT || 'https://huggingface.co'),
    cacheFolder: folder(
      environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || join(hubHome, 'hub'),
    ),
    token: await readToken(environment, folder(environment.HF_TOKEN_PATH || join(hubHome, 'token'))),
    offline: isOn(environment.HF_HUB_OFFLINE) || isOn(environment.TRANSFORMERS_OFFLINE),
    timeout: seconds * 1000,
  }
}

function readEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const usable =
    url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash
  if (usable) {
    url.pathname = url.pathname.replace(/\/+$/, '')
    return url
  }
  // The text is not repeated: it may carry a password.
  throw new OptionError(
    'HF_ENDPOINT: an http or https address without user, password and query is needed; correct or unset it',
    { code: 'PARE_E_HUB_SETTINGS' },
  )
}

async function readToken(environment: NodeJS.ProcessEnv, path: string): Promise<string | undefined> {
  if (isOn(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  const given = environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN
  const token = (given ?? (await readFile(path, 'utf8').catch(() => ''))).trim()
  if (token === '') return undefined
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new SourceError(
    `${given === undefined ? printable(path, 300) : 'HF_TOKEN'}: a token of visible ASCII characters is needed, it has others; write it anew`,
    { code: 'PARE_E_HUB_SETTINGS' },
  )
}

const isOn = (text: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(text ?? '')
