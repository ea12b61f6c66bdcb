/** The system's Chromium, offline, in a new profile. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const executablePath = '/usr/bin/chromium'
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Installs Chromium where it is missing. @throws Error with the reason where that cannot be. */
export function needChromium() {
  if (existsSync(executablePath)) return
  if (process.getuid?.() !== 0) {
    throw new Error(`${executablePath} is missing, and only root may install it: apt-get install chromium`)
  }
  const apt = (...more) => execFileSync('apt-get', [...more], { stdio: ['ignore', 'ignore', 'pipe'] })
  apt('update', '-q')
  apt('install', '-y', '-q', '--no-install-recommends', 'chromium')
}

/**
 * Runs `body` with a context of a browser.
 *
 * @param {import('playwright-core').BrowserContextOptions} options
 * @param {(context: import('playwright-core').BrowserContext) => Promise<void>} body
 */
export async function withBrowser(options, body) {
  const profile = mkdtempSync(join(tmpdir(), 'pare-browser-'))
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath,
      args,
      headless: true,
      chromiumSandbox: false,
      offline: true,
      ...options,
    })
    try {
      await body(context)
    } finally {
      await context.close()
    }
  } finally {
    rmSync(profile, { recursive: true, force: true })
  }
}
