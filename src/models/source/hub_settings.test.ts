import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { OptionError, SourceError } from '../../tensor/errors.ts'
import { servedHub } from './hub_server.suite.ts'

const token = 'hf_secret'
const hub = servedHub()
const { resolve } = hub

test('the token is read from the token file, and a malformed one is refused without being shown', async () => {
  await mkdir(join(hub.folder, 'hf'))
  await writeFile(join(hub.folder, 'hf', 'token'), `${token}\n`)
  await resolve()
  expect(hub.asked[0]!.authorization).toBe(`Bearer ${token}`)
  hub.environment.HF_TOKEN = 'hf_se\ncret'
  const error = await resolve().catch((thrown: unknown) => thrown as Error)
  expect(error).toBeInstanceOf(SourceError)
  expect((error as Error).message).not.toContain('cret')
})
test.each(['ftp://host', 'https://user:hunter2@host', 'host', 'https://host/?a=1'])(
  'HF_ENDPOINT=%s is refused unseen',
  async (address) => {
    hub.environment.HF_ENDPOINT = address
    const error = await resolve().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OptionError)
    expect((error as Error).message).not.toContain('hunter2')
  },
)
