/**
 * browser_check.js FOLDER   a browser's opinion of FOLDER/report.html, and of a page made from FOLDER/report.json in
 * which every string is hostile. One line a check; the last is the counts. Pare must be built.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { reportPage } from '../../dist/run/report_page/report_page.js'
import { needChromium, withBrowser } from './browser.js'
import { cut, faint, focused, unreached, wider } from './in_page.js'

const [folder] = process.argv.slice(2)
if (!folder) throw new Error('usage: browser_check.js FOLDER')
const work = mkdtempSync(join(tmpdir(), 'pare-page-'))
const wide = { viewport: { width: 1280, height: 900 } }
const narrow = { viewport: { width: 360, height: 740 } }
const attack = `<img src=x onerror="window.owned=1">'"><script>window.owned=1</script>\u202e\u0000</style></svg>`

/** Address of a page that is written for the check. */
function written(name, text) {
  const path = join(work, name)
  writeFileSync(path, text)
  return pathToFileURL(path).href
}

const report = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'))
/** Names of stage 0 fit no grid, the others have long kinds; every other string begins with the attack. */
const hostile = (value, key) => {
  if (typeof value === 'string') {
    if (key === 'source') return `pypi:${attack}`
    const isStage = key === 'name' && /^model\.layers\.[1-9]/.test(value)
    return isStage ? value.replace('.weight', '_and_a_long_WORD.weight') : attack + value
  }
  if (Array.isArray(value)) return value.map((each) => hostile(each, key))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([inner, each]) => [inner, hostile(each, inner)]))
}
const address = pathToFileURL(resolve(folder, 'report.html')).href
const hostileAddress = written('hostile.html', reportPage(hostile(report)))

let passed = 0
let failed = 0
/** Opens a page and lets `body` look at it; `seen` holds its requests, messages and violations of its policy. */
async function check(title, options, url, body) {
  const seen = { requests: [], messages: [], violations: [] }
  try {
    await withBrowser(options, async (context) => {
      const page = await context.newPage()
      page.setDefaultTimeout(20_000)
      page.on('request', (request) => seen.requests.push(request.url()))
      page.on('console', (message) => seen.messages.push(message.text()))
      page.on('pageerror', (error) => seen.messages.push(String(error)))
      page.on('dialog', (dialog) => seen.messages.push(`dialog ${dialog.message()}`))
      await page.exposeFunction('violated', (what) => seen.violations.push(what))
      await page.addInitScript(() =>
        document.addEventListener('securitypolicyviolation', (event) =>
          window.violated(event.effectiveDirective),
        ),
      )
      await page.goto(url)
      await body(page, seen)
    })
    passed += 1
    console.log(`ok      ${title}`)
  } catch (error) {
    failed += 1
    console.log(`FAILED  ${title}\n${error instanceof Error ? error.message : error}`)
  }
}

/** Opens every fold, so that what is in it is looked at too. */
const unfold = (page) =>
  page.evaluate(() => {
    for (const each of document.querySelectorAll('details')) each.open = true
  })

needChromium()
for (const [name, url] of [
  ['the report', address],
  ['the hostile report', hostileAddress],
]) {
  await check(
    `${name}: one request, for itself; no message, nothing against its policy`,
    wide,
    url,
    async (page, seen) => {
      await page.waitForTimeout(500)
      assert.deepEqual(seen, { requests: [url], messages: [], violations: [] })
    },
  )
  await check(`${name}: at 360 pixels nothing sticks out of the page`, narrow, url, async (page) => {
    await unfold(page)
    assert.deepEqual(await page.evaluate(wider), [])
  })
  await check(`${name}: no text of a figure is cut`, wide, url, async (page) => {
    assert.deepEqual(await page.evaluate(cut), [])
  })
}

await check('hostile names are text, and nothing of them runs', wide, hostileAddress, async (page) => {
  await unfold(page)
  const { owned, made, text, title } = await page.evaluate(() => ({
    owned: window.owned,
    made: document.querySelectorAll('img, script, link, iframe, body style').length,
    text: document.body.textContent,
    title: document.title,
  }))
  assert.equal(owned, undefined)
  assert.equal(made, 0)
  for (const shown of ['<img src=x onerror="window.owned=1">', '<script>', '\\u{202e}\\u{0}', '</svg>'])
    assert.ok(text.includes(shown), shown)
  assert.ok(title.includes('<img src=x'))
})

await check('what escaping would miss is held back by the policy', wide, address, async (page, seen) => {
  const asked = []
  const server = createServer((request, response) => {
    asked.push(request.url)
    response.end()
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  try {
    await page.context().setOffline(false)
    const there = `http://127.0.0.1:${server.address().port}`
    const inside = `<script>window.owned=1</script><img src="${there}/a.png" onerror="window.owned=1"><link rel="stylesheet" href="${there}/a.css"><p style="color:red">`
    await page.goto(
      written('open.html', readFileSync(new URL(address), 'utf8').replace('</main>', `${inside}</main>`)),
    )
    await page.waitForTimeout(500)
    assert.equal(await page.evaluate(() => window.owned), undefined)
    assert.deepEqual(asked, [])
    for (const kind of ['script-src', 'img-src', 'style-src'])
      assert.ok(
        seen.violations.some((each) => each.startsWith(kind)),
        kind,
      )
  } finally {
    server.close()
  }
})

const backgrounds = {}
for (const colorScheme of ['light', 'dark']) {
  await check(
    `${colorScheme}: every text has the contrast of WCAG AA`,
    { ...wide, colorScheme },
    address,
    async (page) => {
      await unfold(page)
      assert.deepEqual(await page.evaluate(faint), [])
      backgrounds[colorScheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
      if (colorScheme === 'dark') assert.notEqual(backgrounds.dark, backgrounds.light)
    },
  )
}

await check(
  'the keyboard reaches every link, fold and region, and one sees where it is',
  wide,
  address,
  async (page) => {
    const places = []
    for (let i = 0; i < 200; i++) {
      await page.keyboard.press('Tab')
      const place = await page.evaluate(focused)
      if (!place) break
      places.push(place)
      if (place.name.startsWith('summary')) await page.keyboard.press('Enter')
    }
    assert.match(places[0].name, /Skip to the report/)
    assert.deepEqual(
      places.filter(({ outlined, inView }) => !outlined || !inView),
      [],
    )
    assert.deepEqual(await page.evaluate(unreached), [])
    assert.equal(await page.evaluate(() => document.querySelectorAll('details:not([open])').length), 0)
  },
)
await check('the skip link leads past the links', wide, address, async (page) => {
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main')
  await page.keyboard.press('Tab')
  assert.ok(await page.evaluate(() => document.activeElement.closest('main') !== null))
})
await check('arrow keys scroll a region that is wider than the page', narrow, address, async (page) => {
  const region = page.locator('#error .scroll').first()
  await region.focus()
  await page.keyboard.press('ArrowRight')
  await page.waitForFunction((element) => element.scrollLeft > 0, await region.elementHandle())
})
await check(
  'on paper it is dark on white, without links, and with what was folded',
  { ...wide, colorScheme: 'dark' },
  address,
  async (page) => {
    await page.emulateMedia({ media: 'print' })
    const found = await page.evaluate(() => ({
      background: getComputedStyle(document.body).backgroundColor,
      links: document.querySelector('nav').checkVisibility(),
      folded: [...document.querySelectorAll('details table')].filter(
        (each) => each.getBoundingClientRect().height === 0,
      ).length,
    }))
    assert.deepEqual(found, { background: 'rgb(255, 255, 255)', links: false, folded: 0 })
  },
)

rmSync(work, { recursive: true, force: true })
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
