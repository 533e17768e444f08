/**
 * The seed of the property tests, for vitest to load before each file. It is the same in every run, so that a run says something of
 * the change that it tests; `npm run properties` looks with others (docs/decisions/0031). CSPS_PROPERTY_SEED names one.
 */
import fc from "fast-check";

const usualSeed = 1;
const named = process.env["CSPS_PROPERTY_SEED"];
const seed = named === undefined ? usualSeed : Number(named);
if (!Number.isSafeInteger(seed)) throw new Error(`CSPS_PROPERTY_SEED is ${named} and must be a whole number`);
fc.configureGlobal({ seed });
