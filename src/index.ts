export * from './tensor/errors.ts'
