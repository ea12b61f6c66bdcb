import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { defaultCacheFolder, permissionError } from './cache.ts'

const home = resolve('/home/me')
test.each<[NodeJS.ProcessEnv, NodeJS.Platform, string]>([
  [{ HOME: home }, 'linux', join(home, '.cache', 'pare')],
  [{ HOME: home }, 'darwin', join(home, 'Library', 'Caches', 'pare')],
  [{ USERPROFILE: home, LOCALAPPDATA: resolve('/local') }, 'win32', join(resolve('/local'), 'pare', 'Cache')],
  [{ USERPROFILE: home }, 'win32', join(home, 'AppData', 'Local', 'pare', 'Cache')],
  [{ HOME: home, XDG_CACHE_HOME: resolve('/xdg') }, 'linux', join(resolve('/xdg'), 'pare')],
  [{ HOME: home, XDG_CACHE_HOME: 'relative' }, 'linux', join(home, '.cache', 'pare')],
  [
    { HOME: home, XDG_CACHE_HOME: resolve('/xdg'), PARE_HOME: resolve('/mine') },
    'darwin',
    resolve('/mine/cache'),
  ],
])('with %j on %s the cache is %s', (environment, platform, expected) => {
  expect(defaultCacheFolder(environment, platform)).toBe(expected)
})
test('a refusal of the file system names the folder and the way out; other errors stay as they are', () => {
  const refusal = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES', syscall: 'mkdir' })
  expect(permissionError(refusal, 'caches')).toMatchObject({
    code: 'PARE_E_SOURCE_CACHE',
    exitCode: 6,
    cause: refusal,
  })
  const other = new Error('x')
  expect(permissionError(other, 'caches')).toBe(other)
})
