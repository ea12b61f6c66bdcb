/** `npm ci`, `npx` in a clone and `npm test` all run native/prepare.js: it must cost nothing where all is built. */
import { spawnSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './pare_process.suite.ts'

/** Without cargo, so that a native core that is not fresh is an error and no build of minutes. */
const prepare = () =>
  spawnSync(process.execPath, [join(root, 'native', 'prepare.js')], {
    encoding: 'utf8',
    env: { ...process.env, PATH: '' },
  })

test('where everything is built, prepare says nothing, touches nothing and is done in under 2 seconds', () => {
  const product = join(root, 'dist', 'index.js')
  const before = [statSync(product).mtimeMs, readFileSync(join(root, 'dist', 'prepare.stamp'), 'utf8')]
  const started = performance.now()
  const { status, stdout, stderr } = prepare()
  // Hashing the sources takes a tenth of it.
  expect(performance.now() - started).toBeLessThan(2000)
  expect([status, stdout, stderr]).toEqual([0, '', ''])
  expect([statSync(product).mtimeMs, readFileSync(join(root, 'dist', 'prepare.stamp'), 'utf8')]).toEqual(
    before,
  )
})
test('package.json runs it as `prepare`, and depends on published packages only', () => {
  const read = (name: string) => JSON.parse(readFileSync(join(root, name), 'utf8'))
  const manifest = read('package.json')
  expect(manifest.scripts.prepare).toBe('node native/prepare.js')
  const locked = read('package-lock.json').packages
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))
    expect(locked[`node_modules/${name}`]?.integrity, name).toMatch(/^sha512-/)
})
