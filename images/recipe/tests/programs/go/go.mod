module holdall/programs/go

go 1.22
