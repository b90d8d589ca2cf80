// The settings, and who there is: a person is looked up anew each time, as tests change people.
import { readFileSync } from 'node:fs';

const directory = process.argv[2];
const read = (file) => JSON.parse(readFileSync(`${directory}/${file}.json`, 'utf8'));

export const settings = read('settings');

const everybody = () => Object.entries(read('people')).map(([name, of]) => ({ name, ...of }));

export const named = (name) => everybody().find((person) => person.name === name);

export const withSub = (sub) => everybody().find((person) => person.sub === sub);

/** Who fills in a form with the right password. */
export const whoLogsIn = (fields) => everybody().find((person) => (
  person.name === fields.get('username') && person.password === fields.get('password')));

/** The organisations that somebody is a member of. */
export const organisations = (name) => Object.entries(read('organisations'))
  .filter(([, members]) => members.includes(name)).map(([organisation]) => organisation);
