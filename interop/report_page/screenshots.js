/** screenshots.js REPORT.html FOLDER   the page and its parts in light, dark and narrow, to be looked at. */
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { needChromium, withBrowser } from './browser.js'

const [file, folder] = process.argv.slice(2)
if (!file || !folder) throw new Error('usage: screenshots.js REPORT.html FOLDER')
mkdirSync(folder, { recursive: true })
needChromium()
const looks = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 900 } },
  narrow: { colorScheme: 'light', viewport: { width: 360, height: 740 } },
}
for (const [name, options] of Object.entries(looks)) {
  await withBrowser(options, async (context) => {
    const page = await context.newPage()
    await page.goto(pathToFileURL(resolve(file)).href)
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true })
    for (const part of await page.locator('section').all()) {
      await part.screenshot({ path: join(folder, `${name}-${await part.getAttribute('id')}.png`) })
    }
  })
}
