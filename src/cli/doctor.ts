/** `pare doctor`: what Pare finds on this machine, and one fix for each problem. Works without the native core. */
import { spawnSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import type { Command } from 'commander'
import { defaultCacheFolder } from '../models/source/cache.ts'
import { binding, findBinding, platformName } from '../tensor/binding.ts'
import { OptionError } from '../tensor/errors.ts'
import { showJson } from './show_json.ts'
import { bytesText } from './terminal.ts'

interface Finding {
  subject: string
  ok: boolean
  found: string
  fix?: string
}

export function addDoctor(pare: Command): void {
  pare
    .command('doctor')
    .description('Check this machine and name one fix for each problem.')
    .option('--json', 'the findings as JSON')
    .action(({ json }) => {
      const findings = examine()
      if (json) showJson(findings)
      else {
        for (const { subject, ok, found, fix } of findings) {
          process.stdout.write(
            `${ok ? 'ok     ' : 'problem'}  ${subject.padEnd(14)} ${found}${fix ? `\n         ${fix}` : ''}\n`,
          )
        }
      }
    })
}

/** Everything that Pare uses. */
export function examine(): Finding[] {
  const [major, minor] = process.versions.node.split('.').map(Number)
  const nodeFits = major! > 20 || (major === 20 && minor! >= 19)
  const core = nativeCore()
  const findings: Finding[] = [
    {
      subject: 'Node',
      ok: nodeFits,
      found: process.versions.node,
      ...(nodeFits ? {} : { fix: 'Pare needs Node 20.19 or newer.' }),
    },
    core,
    ...(core.ok ? [threadCount()] : []),
    {
      subject: 'machine',
      ok: true,
      found: `${cpus().length} cores, ${bytesText(totalmem())} memory, ${platformName()}`,
    },
    { subject: 'cache', ok: true, found: defaultCacheFolder(process.env, process.platform) },
    client('pip', ['python3', '-m', 'pip', '--version'], 'Install Python with pip to fetch pypi: sources.'),
    client('npm', ['npm', '--version'], 'Install npm to fetch npm: sources.'),
  ]
  return findings
}

function nativeCore(): Finding {
  const path = findBinding()
  const fix = `Run \`npm run build\` in the folder of Pare (needs Rust), or install @pare/native-${platformName()}.`
  if (!path) return { subject: 'native core', ok: false, found: `not built for ${platformName()}`, fix }
  try {
    const native = binding()
    return {
      subject: 'native core',
      ok: true,
      found: `${native.version()}, ${native.instructionSet()}${native.hasBf16() ? ' with bf16' : ''}`,
    }
  } catch (error) {
    if (error instanceof OptionError) return refused('native core', error)
    return { subject: 'native core', ok: false, found: (error as Error).message, fix }
  }
}

/** The threads that PARE_THREADS asks for, else one for each core. */
function threadCount(): Finding {
  try {
    return { subject: 'threads', ok: true, found: `${binding().threads()}` }
  } catch (error) {
    return refused('threads', error as Error)
  }
}

/** A setting that cannot be, with the way out that its error names. */
function refused(subject: string, { message }: Error): Finding {
  const [found, fix] = message.split('; ')
  return { subject, ok: false, found: found!, ...(fix ? { fix } : {}) }
}

function client(subject: string, [command, ...args]: [string, ...string[]] | string[], fix: string): Finding {
  const { status, stdout } = spawnSync(command!, args, { encoding: 'utf8', timeout: 20_000 })
  return status === 0
    ? { subject, ok: true, found: stdout.trim().split(/\s+from\s/)[0]! }
    : { subject, ok: false, found: 'not found', fix }
}
