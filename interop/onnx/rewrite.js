#!/usr/bin/env node
// Products of a model as MatMulNBits: rewrite.js SOURCE TARGET OPTIONS prints the report as JSON. Pare must be built.
import { rewriteMatMulNBits } from '../../dist/formats/onnx/rewrite_matmul_nbits.js'

const [source, target, options] = process.argv.slice(2)
process.stdout.write(`${JSON.stringify(rewriteMatMulNBits(source, target, JSON.parse(options)))}\n`)
