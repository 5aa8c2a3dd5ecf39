/** The few calls of the file system that the spool makes, as promises on raw descriptors, so that no loop ever waits for a disk. */
import fs from "node:fs";

/** Rejects with what the system says. Tests put failing calls in the place of some. */
export interface Disk {
	/** Creates a file that must not be there, to write. */
	create(path: string): Promise<number>;
	/** Opens a file to read and write, creates it where it is missing. */
	open(path: string): Promise<number>;
	/** Writes all of `bytes` at `offset`, however many calls the system needs. */
	write(fd: number, bytes: Buffer, offset: number): Promise<void>;
	/** The whole file, or its first `bytesMax`. */
	read(path: string, bytesMax: number): Promise<Buffer>;
	/** Resolves when the device has what was written. */
	sync(fd: number): Promise<void>;
	/** Makes creations and removals in a directory durable. */
	syncDirectory(dir: string): Promise<void>;
	truncate(fd: number, bytes: number): Promise<void>;
	close(fd: number): Promise<void>;
	/** A file that is gone already is no failure. */
	remove(path: string): Promise<void>;
}

// Descriptors and not FileHandles: one that is garbage-collected while it is open throws.
export const systemDisk: Disk = {
	create: (path) => promised((done) => fs.open(path, "wx", 0o600, done)),
	open: (path) => promised((done) => fs.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600, done)),
	async write(fd, bytes, offset) {
		let written = 0;
		while (written < bytes.length) {
			written += await promised<number>((done) => fs.write(fd, bytes, written, bytes.length - written, offset + written, done));
		}
	},
	async read(path, bytesMax) {
		const fd = await promised<number>((done) => fs.open(path, "r", done));
		try {
			const { size } = await promised<fs.Stats>((done) => fs.fstat(fd, done));
			const bytes = Buffer.allocUnsafeSlow(Math.min(size, bytesMax));
			let got = 0;
			while (got < bytes.length) {
				const read = await promised<number>((done) => fs.read(fd, bytes, got, bytes.length - got, got, done));
				if (read === 0) break;
				got += read;
			}
			return bytes.subarray(0, got);
		} finally {
			await promised<void>((done) => fs.close(fd, done));
		}
	},
	sync: (fd) => promised((done) => fs.fdatasync(fd, done)),
	async syncDirectory(dir) {
		const fd = await promised<number>((done) => fs.open(dir, "r", done));
		try {
			await promised<void>((done) => fs.fsync(fd, done));
		} finally {
			await promised<void>((done) => fs.close(fd, done));
		}
	},
	truncate: (fd, bytes) => promised((done) => fs.ftruncate(fd, bytes, done)),
	close: (fd) => promised((done) => fs.close(fd, done)),
	remove: (path) => promised((done) => fs.rm(path, { force: true }, done)),
};

function promised<T>(start: (done: (error: Error | null | undefined, value?: T) => void) => void): Promise<T> {
	return new Promise((resolve, reject) => {
		start((error, value) => (error === null || error === undefined ? resolve(value as T) : reject(error)));
	});
}
